// Rounding to at most 16 points of `smart` (quant/smart.h) in AVX-512 intrinsics: points fit into a register,
// in which a permutation looks up the neighbours of 16 elements, where the shared text compares each element
// with all of them. Results are the same bits.
#pragma once

#include <bit>

#include "quant/cpu/simd_group.h"
#include "quant/smart.h"

namespace qstep::quant::cpu {

#if defined(__x86_64__) && defined(__GNUC__)

/// The points, and what to look through for the left neighbour.
struct FewPoints16 {
    __m512 search, left, right;

    explicit __attribute__((target("avx512f"))) FewPoints16(const Smart::Fit& fit)
        : search(_mm512_loadu_ps(fit.search)),
          left(_mm512_loadu_ps(fit.points)),
          right(_mm512_loadu_ps(fit.points + 1)) {}

    /// Number of the left neighbour of each element of x.
    __attribute__((target("avx512f"))) __m512i find(__m512 x) const {
        __m512i at = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int step = 8; step > 0; step /= 2) {
            const __m512i next = _mm512_add_epi32(at, _mm512_set1_epi32(step));
            const __m512 point = _mm512_permutexvar_ps(next, search);
            at = _mm512_mask_mov_epi32(at, _mm512_cmp_ps_mask(point, x, _CMP_LE_OQ), next);
        }
        return at;
    }

    /// Adds eight shares to lanes; returns which elements go up. words: in 32-bit lanes.
    static __attribute__((target("avx512f"))) __mmask8 round_half(__m256 x, __m256 left, __m256 right,
                                                                  __m256i words, double* lanes,
                                                                  __mmask8 live) {
        const __m512d l = _mm512_cvtps_pd(left), r = _mm512_cvtps_pd(right), v = _mm512_cvtps_pd(x);
        const __m512d gap = _mm512_sub_pd(r, l), offset = _mm512_sub_pd(v, l);
        const __m512d uniform = _mm512_mul_pd(_mm512_cvtepi32_pd(words), _mm512_set1_pd(0x1p-24));
        const __m512d raised = _mm512_add_pd(offset, _mm512_mul_pd(gap, uniform));
        const __m512d share = _mm512_mul_pd(offset, _mm512_sub_pd(r, v)), sum = _mm512_loadu_pd(lanes);
        _mm512_storeu_pd(lanes, _mm512_mask_add_pd(sum, live, sum, share));
        return _mm512_cmp_pd_mask(raised, gap, _CMP_GE_OQ);
    }

    static __attribute__((target("avx512f"))) __m256 upper(__m512 y) {
        return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(y), 1));
    }

    /// Up to 16 elements, those that are `live`.
    __attribute__((target("avx512f"))) void round(const float* x, const std::uint32_t* words, float* out,
                                                  double* lanes, __mmask16 live) const {
        const __m512 v = _mm512_maskz_loadu_ps(live, x);
        const __m512i at = find(v), draws = _mm512_srli_epi32(_mm512_loadu_si512(words), 8);
        const __m512 l = _mm512_permutexvar_ps(at, left), r = _mm512_permutexvar_ps(at, right);
        const unsigned low =
            round_half(_mm512_castps512_ps256(v), _mm512_castps512_ps256(l), _mm512_castps512_ps256(r),
                       _mm512_castsi512_si256(draws), lanes, static_cast<__mmask8>(live));
        const unsigned high = round_half(upper(v), upper(l), upper(r), _mm512_extracti64x4_epi64(draws, 1),
                                         lanes + 8, static_cast<__mmask8>(live >> 8));
        _mm512_mask_storeu_ps(out, live, _mm512_mask_blend_ps(static_cast<__mmask16>(high << 8 | low), l, r));
    }
};

/// round_to_values() for a finite fit of at most 16 points.
template <typename Group>
__attribute__((target("avx512f"))) inline double round_to_few_points(Group& group, const Smart::Fit& fit,
                                                                     float* out, const float* x,
                                                                     std::int64_t n, const Draws& draws) {
    const FewPoints16 points(fit);
    return group.sum_rows(
        n, draws,
        [=](std::int64_t i, const std::uint32_t* words, double* lanes, std::int64_t count)
            __attribute__((target("avx512f"))) {
                const unsigned live = count >= 16 ? 0xffffu : (1u << count) - 1u;
                points.round(x + i, words, out + i, lanes, static_cast<__mmask16>(live));
            });
}

#else

template <typename Group>
double round_to_few_points(Group&, const Smart::Fit&, float*, const float*, std::int64_t, const Draws&);

#endif

}  // namespace qstep::quant::cpu

// Rounding to at most 16 points of `smart` (quant/smart.h) in AVX-512 intrinsics: points fit into a register,
// in which a permutation looks up the neighbours of 16 elements, where the shared text compares each element
// with all of them. Results are the same bits.
#pragma once

#include "quant/cpu/simd_group.h"
#include "quant/smart.h"

namespace qstep::quant::cpu {

#if defined(__x86_64__) && defined(__GNUC__)

/// A bucket's points, what to look through for the left neighbour, and, scaled, what rounding needs to know
/// of the gap behind each.
struct FewPoints16 {
    __m512 points, search, left, right, gap, shrink;

    explicit __attribute__((target("avx512f"))) FewPoints16(const Smart::Fit& fit)
        : points(_mm512_loadu_ps(fit.points)),
          search(_mm512_loadu_ps(fit.search)),
          shrink(_mm512_set1_ps(fit.scale.inverse)) {
        left = _mm512_mul_ps(points, shrink);
        right = _mm512_mul_ps(_mm512_loadu_ps(fit.points + 1), shrink);
        gap = _mm512_max_ps(_mm512_sub_ps(right, left), _mm512_set1_ps(Smart::kLeastGap));
    }

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

    /// Rounds up to 16 elements, those that are `live`, and adds their shares to `sum`. past_caches: of 16 to
    /// an address that suits it.
    __attribute__((target("avx512f"))) __m512 round(const float* x, const std::uint32_t* words, float* out,
                                                    __m512 sum, __mmask16 live, bool past_caches) const {
        const __m512 raw = _mm512_maskz_loadu_ps(live, x), value = _mm512_mul_ps(raw, shrink);
        const __m512i at = find(raw), draws = _mm512_srli_epi32(_mm512_loadu_si512(words), 8);
        const __m512 space = _mm512_permutexvar_ps(at, gap);
        const __m512 offset = _mm512_sub_ps(value, _mm512_permutexvar_ps(at, left));
        const __m512 rest = _mm512_sub_ps(_mm512_permutexvar_ps(at, right), value);
        const __m512 uniform = _mm512_mul_ps(_mm512_cvtepi32_ps(draws), _mm512_set1_ps(0x1p-24f));
        const __m512 raised = _mm512_add_ps(offset, _mm512_mul_ps(space, uniform));
        const __mmask16 up = _mm512_cmp_ps_mask(raised, space, _CMP_GE_OQ);
        const __m512i code = _mm512_mask_add_epi32(at, up, at, _mm512_set1_epi32(1));
        const __m512 rounded = _mm512_permutexvar_ps(code, points);
        if (past_caches && live == 0xffff)
            _mm512_stream_ps(out, rounded);
        else
            _mm512_mask_storeu_ps(out, live, rounded);
        return _mm512_mask_add_ps(sum, live, sum, _mm512_mul_ps(offset, rest));
    }
};

/// round_to_values() for a finite fit of at most 16 points. past_caches: SimdGroupOf::stream().
template <typename Group>
__attribute__((target("avx512f"))) inline double round_to_few_points(Group& group, const Smart::Fit& fit,
                                                                     float* out, const float* x,
                                                                     std::int64_t n, const Draws& draws,
                                                                     bool past_caches) {
    const FewPoints16 points(fit);
    const bool streams = past_caches && reinterpret_cast<std::uintptr_t>(out) % 64 == 0;
    const double spread = group.sum_tiles(
        n, draws,
        [=](std::int64_t tile, std::int64_t size, const std::uint32_t* words, float* lanes)
            __attribute__((target("avx512f"))) {
                for (std::int64_t lane = 0; lane < std::min(size, kSumLanes); lane += 16) {
                    __m512 sum = _mm512_loadu_ps(lanes + lane);
                    for (std::int64_t i = lane; i < size; i += kSumLanes) {
                        const unsigned live = size - i >= 16 ? 0xffffu : (1u << (size - i)) - 1u;
                        sum = points.round(x + tile + i, words + i, out + tile + i, sum,
                                           static_cast<__mmask16>(live), streams);
                    }
                    _mm512_storeu_ps(lanes + lane, sum);
                }
            });
    return spread * fit.scale.power * fit.scale.power;
}

#else

template <typename Group>
double round_to_few_points(Group&, const Smart::Fit&, float*, const float*, std::int64_t, const Draws&, bool);

#endif

}  // namespace qstep::quant::cpu

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
    __m512 eighth;  // search[8], with which each search begins

    explicit __attribute__((target("avx512f"))) FewPoints16(const Smart::Fit& fit)
        : points(_mm512_loadu_ps(fit.points)),
          search(_mm512_loadu_ps(fit.search)),
          shrink(_mm512_set1_ps(fit.scale.inverse)),
          eighth(_mm512_set1_ps(fit.search[8])) {
        left = _mm512_mul_ps(points, shrink);
        right = _mm512_mul_ps(_mm512_loadu_ps(fit.points + 1), shrink);
        gap = _mm512_max_ps(_mm512_sub_ps(right, left), _mm512_set1_ps(Smart::kLeastGap));
    }

    /// Numbers of the left neighbours of the elements of x.
    template <int kCount>
    __attribute__((target("avx512f"))) void find(const __m512 (&x)[kCount], __m512i (&at)[kCount]) const {
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v)
            at[v] =
                _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(eighth, x[v], _CMP_LE_OQ), _mm512_set1_epi32(8));
#pragma GCC unroll 3
        for (int step = 4; step > 0; step /= 2)
#pragma GCC unroll 4
            for (int v = 0; v < kCount; ++v) {
                const __m512i next = _mm512_add_epi32(at[v], _mm512_set1_epi32(step));
                const __m512 point = _mm512_permutexvar_ps(next, search);
                at[v] = _mm512_mask_mov_epi32(at[v], _mm512_cmp_ps_mask(point, x[v], _CMP_LE_OQ), next);
            }
    }

    /// Rounds kCount times up to 16 elements, those that are `live`, kSumLanes from the ones before, and adds
    /// their shares to `sum` in turn. past_caches: if all are, to an address that suits it.
    ///
    /// The steps of a search wait for each other, so kCount of them take turns: a processor looks ahead by
    /// some sixty instructions only.
    template <int kCount>
    __attribute__((target("avx512f"))) __m512 round(const float* x, const std::uint32_t* words, float* out,
                                                    __m512 sum, __mmask16 live, bool past_caches) const {
        __m512 raw[kCount];
        __m512i at[kCount];
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) raw[v] = _mm512_maskz_loadu_ps(live, x + kSumLanes * v);
        find(raw, at);
#pragma GCC unroll 4
        for (int v = 0; v < kCount; ++v) {
            const __m512i draws = _mm512_srli_epi32(_mm512_loadu_si512(words + kSumLanes * v), 8);
            const __m512 value = _mm512_mul_ps(raw[v], shrink), space = _mm512_permutexvar_ps(at[v], gap);
            const __m512 offset = _mm512_sub_ps(value, _mm512_permutexvar_ps(at[v], left));
            const __m512 rest = _mm512_sub_ps(_mm512_permutexvar_ps(at[v], right), value);
            const __m512 uniform = _mm512_mul_ps(_mm512_cvtepi32_ps(draws), _mm512_set1_ps(0x1p-24f));
            const __m512 raised = _mm512_add_ps(offset, _mm512_mul_ps(space, uniform));
            const __mmask16 up = _mm512_cmp_ps_mask(raised, space, _CMP_GE_OQ);
            const __m512i code = _mm512_mask_add_epi32(at[v], up, at[v], _mm512_set1_epi32(1));
            const __m512 rounded = _mm512_permutexvar_ps(code, points);
            if (past_caches && live == 0xffff)
                _mm512_stream_ps(out + kSumLanes * v, rounded);
            else
                _mm512_mask_storeu_ps(out + kSumLanes * v, live, rounded);
            sum = _mm512_mask_add_ps(sum, live, sum, _mm512_mul_ps(offset, rest));
        }
        return sum;
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
                constexpr int kRows = 4;
                const float* const from = x + tile;
                float* const to = out + tile;
                for (std::int64_t lane = 0; lane < std::min(size, kSumLanes); lane += 16) {
                    __m512 sum = _mm512_loadu_ps(lanes + lane);
                    std::int64_t i = lane;
                    for (; i + (kRows - 1) * kSumLanes + 16 <= size; i += kRows * kSumLanes)
                        sum = points.round<kRows>(from + i, words + i, to + i, sum, 0xffff, streams);
                    for (; i < size; i += kSumLanes) {
                        const unsigned live = size - i >= 16 ? 0xffffu : (1u << (size - i)) - 1u;
                        sum = points.round<1>(from + i, words + i, to + i, sum, static_cast<__mmask16>(live),
                                              streams);
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

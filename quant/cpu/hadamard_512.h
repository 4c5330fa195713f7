// `hadamard` (quant/hadamard.h) for whole buckets of 512 elements, the default, in AVX-512 intrinsics: signs,
// scale, transform and range of a bucket are two passes over it instead of five, and so is the way back.
// Results are the same bits.
#pragma once

#include "quant/cpu/simd_group.h"
#include "quant/hadamard.h"

namespace qstep::quant::cpu {

#if defined(__x86_64__) && defined(__GNUC__)

struct Hadamard512 {
    static constexpr std::int64_t kSize = 512, kBlock = 128, kVector = 16;
    static constexpr int kBlocks = 4, kVectors = 8;  // blocks of a bucket, vectors of a block
    static_assert(kSize == static_cast<std::int64_t>(Signs::kRun) && kVector == Signs::kWords);

    /// x with its sign bit flipped where the highest bit of `signs` is set.
    static __attribute__((target("avx512f"))) __m512 flip(__m512 x, __m512i signs) {
        constexpr int kXorOfAnd = 0x78;
        return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(
            _mm512_castps_si512(x), signs, _mm512_set1_epi32(static_cast<int>(0x80000000u)), kXorOfAnd));
    }

    /// high: the largest |x|.
    static __attribute__((target("avx512f"))) Extent magnitudes(const float* x) {
        __m512i largest = _mm512_setzero_si512();
        for (std::int64_t i = 0; i < kSize; i += kVector)
            largest = _mm512_max_epu32(
                largest, _mm512_and_si512(_mm512_loadu_si512(x + i), _mm512_set1_epi32(0x7fffffff)));
        const auto bits = static_cast<std::uint32_t>(_mm512_reduce_max_epu32(largest));
        return {0.0f, std::bit_cast<float>(bits), bits < 0x7f800000u};
    }

    /// The stages h = 128 and 256 of vector v of each block.
    static __attribute__((target("avx512f"))) void last_two_stages(const float* y, int v,
                                                                   __m512 (&to)[kBlocks]) {
        const float* at = y + kVector * v;
        const __m512 x0 = _mm512_loadu_ps(at), x1 = _mm512_loadu_ps(at + kBlock),
                     x2 = _mm512_loadu_ps(at + 2 * kBlock), x3 = _mm512_loadu_ps(at + 3 * kBlock);
        const __m512 a0 = _mm512_add_ps(x0, x1), a1 = _mm512_sub_ps(x0, x1), a2 = _mm512_add_ps(x2, x3),
                     a3 = _mm512_sub_ps(x2, x3);
        to[0] = _mm512_add_ps(a0, a2);
        to[1] = _mm512_add_ps(a1, a3);
        to[2] = _mm512_sub_ps(a0, a2);
        to[3] = _mm512_sub_ps(a1, a3);
    }

    /// y = the rotated bucket; its range. words: of the bucket's signs.
    static __attribute__((target("avx512f"))) Extent rotate(float* y, const float* x, float forward,
                                                            const std::uint32_t* words) {
        const __m512 scale = _mm512_set1_ps(forward);
        const __m512i all = _mm512_loadu_si512(words);
        for (int block = 0; block < kBlocks; ++block) {
            const __m512i signs = _mm512_sll_epi32(all, _mm_cvtsi32_si128(24 - kVectors * block));
            __m512 z[kVectors];
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v)
                z[v] = flip(_mm512_mul_ps(_mm512_loadu_ps(x + kBlock * block + kVector * v), scale),
                            _mm512_slli_epi32(signs, 7 - v));
            first_seven_stages_avx512(z);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(y + kBlock * block + kVector * v, z[v]);
        }
        __m512 low = _mm512_set1_ps(std::numeric_limits<float>::infinity());
        __m512 high = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
        for (int v = 0; v < kVectors; ++v) {
            __m512 z[kBlocks];
            last_two_stages(y, v, z);
#pragma GCC unroll 4
            for (int block = 0; block < kBlocks; ++block) {
                low = _mm512_min_ps(low, z[block]);
                high = _mm512_max_ps(high, z[block]);
                _mm512_storeu_ps(y + kBlock * block + kVector * v, z[block]);
            }
        }
        return {_mm512_reduce_min_ps(low) + 0.0f, _mm512_reduce_max_ps(high) + 0.0f, true};
    }

    /// out = the bucket rotated back from y, which is overwritten. past_caches: `out` is aligned to 64 bytes.
    static __attribute__((target("avx512f"))) void rotate_back(float* out, float* y, float backward,
                                                               const std::uint32_t* words, bool past_caches) {
        for (int block = 0; block < kBlocks; ++block) first_seven_stages_avx512(y + kBlock * block);
        const __m512i all = _mm512_loadu_si512(words);
        const __m512 scale = _mm512_set1_ps(backward),
                     most = _mm512_set1_ps(std::numeric_limits<float>::max()),
                     least = _mm512_set1_ps(-std::numeric_limits<float>::max());
        for (int v = 0; v < kVectors; ++v) {
            __m512 z[kBlocks];
            last_two_stages(y, v, z);
            const __m512i signs = _mm512_sll_epi32(all, _mm_cvtsi32_si128(7 - v));
#pragma GCC unroll 4
            for (int block = 0; block < kBlocks; ++block) {
                const __m512 value = _mm512_mul_ps(
                    flip(z[block], _mm512_slli_epi32(signs, static_cast<unsigned>(24 - kVectors * block))),
                    scale);
                // + 0 turns -0 into +0.
                const __m512 cut =
                    _mm512_add_ps(_mm512_min_ps(_mm512_max_ps(value, least), most), _mm512_setzero_ps());
                float* const to = out + kBlock * block + kVector * v;
                if (past_caches)
                    _mm512_stream_ps(to, cut);
                else
                    _mm512_storeu_ps(to, cut);
            }
        }
    }
};

/// Hadamard::quantize() of 512 elements whose signs are a run. y: [512]. past_caches: SimdGroupOf::stream().
template <typename Group>
__attribute__((target("avx512f"))) inline double quantize_512(Group& group, float* out, const float* x,
                                                              float* y, const Parameters& parameters,
                                                              const Draws& draws, const Signs& signs,
                                                              bool past_caches) {
    using Bucket = Hadamard512;
    const Hadamard::Scale scale = Hadamard::scale(Bucket::magnitudes(x), Bucket::kSize);
    if (!scale.finite) return Hadamard::fill_not_a_number(group, out, Bucket::kSize);
    const std::uint32_t* const words = group.sign_words(signs.stream, signs.first / Signs::kRun);
    const Standard::Fit fit =
        Standard::fit_of(Bucket::rotate(y, x, scale.forward, words), Bucket::kSize, parameters);
    const double spread = round_to_values<Standard>(group, fit, y, y, Bucket::kSize, draws);
    Bucket::rotate_back(out, y, scale.backward, words,
                        past_caches && reinterpret_cast<std::uintptr_t>(out) % 64 == 0);
    return spread * scale.variance;
}

#else

template <typename Group>
double quantize_512(Group&, float*, const float*, float*, const Parameters&, const Draws&, const Signs&,
                    bool);

#endif

}  // namespace qstep::quant::cpu

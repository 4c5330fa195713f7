// Two loops of quant/cpu/simd_group.h in AVX-512 intrinsics, because compilers make two to three times as
// many instructions of them. Results are the same bits.
#pragma once

#include <cstdint>

#include "engine/random.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace qstep::quant::cpu {

#if defined(__x86_64__) && defined(__GNUC__)

inline constexpr bool kAvx512Written = true;

/// 8 Philox blocks, a counter word in each 64-bit lane, of which the upper half is ignored.
struct Philox8 {
    __m512i c0, c1, c2, c3;

    __attribute__((target("avx512f"))) void round(std::uint32_t k0, std::uint32_t k1) {
        constexpr int kXor3 = 0x96;
        const __m512i p0 = _mm512_mul_epu32(c0, _mm512_set1_epi64(0xD2511F53));
        const __m512i p1 = _mm512_mul_epu32(c2, _mm512_set1_epi64(0xCD9E8D57));
        c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, _mm512_set1_epi64(k0), kXor3);
        c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, _mm512_set1_epi64(k1), kXor3);
        c1 = p1;
        c3 = p0;
    }

    /// The 32 words in turn. Lanes hold blocks 0 4 1 5 2 6 3 7, so that unpacking leaves them in order.
    __attribute__((target("avx512f"))) void store(std::uint32_t* words) const {
        constexpr __mmask16 kUpper = 0xaaaa;
        const __m512i low = _mm512_mask_shuffle_epi32(c0, kUpper, c1, _MM_PERM_CCAA);
        const __m512i high = _mm512_mask_shuffle_epi32(c2, kUpper, c3, _MM_PERM_CCAA);
        _mm512_storeu_si512(words, _mm512_unpacklo_epi64(low, high));
        _mm512_storeu_si512(words + 16, _mm512_unpackhi_epi64(low, high));
    }
};

/// philox_64_words: 6 instructions a round for 32 words.
__attribute__((target("avx512f"))) inline void philox_64_words_avx512(std::uint32_t* words,
                                                                      const RandomStream& stream,
                                                                      std::uint64_t block0) {
    const __m512i first = _mm512_add_epi64(_mm512_set1_epi64(static_cast<std::int64_t>(block0 & 0xffffffffu)),
                                           _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
    const __m512i high = _mm512_set1_epi64(static_cast<std::int64_t>(block0 >> 32));
    const __m512i step = _mm512_set1_epi64(stream.step);
    const __m512i purpose = _mm512_set1_epi64(static_cast<std::int64_t>(stream.purpose));
    Philox8 a{first, high, step, purpose};
    Philox8 b{_mm512_add_epi64(first, _mm512_set1_epi64(8)), high, step, purpose};
    auto k0 = static_cast<std::uint32_t>(stream.seed), k1 = static_cast<std::uint32_t>(stream.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
        a.round(k0, k1);
        b.round(k0, k1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    a.store(words);
    b.store(words + 32);
}

/// a + b in the first lane of a pair (a, b) and a - b in the second, whose mask is kSecond.
template <int kSecond>
__attribute__((target("avx512f"))) inline __m512 butterfly_avx512(__m512 x, __m512 partner) {
    return _mm512_mask_sub_ps(_mm512_add_ps(partner, x), static_cast<__mmask16>(kSecond), partner, x);
}

/// The stages h = 1, 2, 4, 8 of a Walsh-Hadamard transform of x[0..16).
__attribute__((target("avx512f"))) inline void first_four_stages_avx512(float* x) {
    __m512 y = _mm512_loadu_ps(x);
    y = butterfly_avx512<0xaaaa>(y, _mm512_permute_ps(y, 0xb1));
    y = butterfly_avx512<0xcccc>(y, _mm512_permute_ps(y, 0x4e));
    y = butterfly_avx512<0xf0f0>(y, _mm512_shuffle_f32x4(y, y, 0xb1));
    y = butterfly_avx512<0xff00>(y, _mm512_shuffle_f32x4(y, y, 0x4e));
    _mm512_storeu_ps(x, y);
}

#else

inline constexpr bool kAvx512Written = false;
void philox_64_words_avx512(std::uint32_t* words, const RandomStream& stream, std::uint64_t block0);
void first_four_stages_avx512(float* x);

#endif

}  // namespace qstep::quant::cpu

// Loops of quant/cpu/simd_group.h in AVX-512 intrinsics, because compilers make two to three times as
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

/// What this thread has stored past the caches is there for others behind this.
inline void end_streams() {
    _mm_sfence();
}

/// What all blocks of a stream whose upper 32 bits are `high` share in Philox's rounds: two of a counter's
/// words are the same in all of them, so half of the first two rounds is.
template <int kRounds>
struct PhiloxShared {
    std::uint64_t keys[2 * kRounds];  // k0, k1 of each round
    std::uint64_t c2_first, c0_second, c2_second, c2_third;

    PhiloxShared(const PhiloxStream<kRounds>& stream, std::uint32_t high) {
        auto k0 = static_cast<std::uint32_t>(stream.seed), k1 = static_cast<std::uint32_t>(stream.seed >> 32);
        for (int round = 0; round < kRounds; ++round) {
            keys[2 * round] = k0;
            keys[2 * round + 1] = k1;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * stream.step;
        const std::uint64_t c0 = (p1 >> 32) ^ high ^ keys[0], p0 = std::uint64_t{0xD2511F53u} * c0;
        c2_first = static_cast<std::uint32_t>(stream.purpose) ^ keys[1];
        c0_second = (p1 & 0xffffffffu) ^ keys[2];
        c2_second = (p0 >> 32) ^ keys[3];
        c2_third = (p0 & 0xffffffffu) ^ keys[5];
    }
};

/// 8 Philox blocks, a counter word in each 64-bit lane, of which the upper half is ignored.
struct Philox8 {
    __m512i c0, c1, c2, c3;

    static __attribute__((target("avx512f"))) __m512i all(std::uint64_t value) {
        return _mm512_set1_epi64(static_cast<std::int64_t>(value));
    }
    static __attribute__((target("avx512f"))) __m512i upper(__m512i x) { return _mm512_srli_epi64(x, 32); }

    /// The first three rounds.
    template <int kRounds>
    __attribute__((target("avx512f"))) void begin(const PhiloxShared<kRounds>& shared) {
        const __m512i m0 = all(0xD2511F53), m1 = all(0xCD9E8D57);
        const __m512i p0 = _mm512_mul_epu32(c0, m0);
        c2 = _mm512_xor_si512(upper(p0), all(shared.c2_first));
        const __m512i p1 = _mm512_mul_epu32(c2, m1);
        c0 = _mm512_xor_si512(upper(p1), all(shared.c0_second));
        c2 = _mm512_xor_si512(p0, all(shared.c2_second));
        const __m512i q0 = _mm512_mul_epu32(c0, m0), q1 = _mm512_mul_epu32(c2, m1);
        c0 = _mm512_ternarylogic_epi64(upper(q1), p1, all(shared.keys[4]), kXor3);
        c2 = _mm512_xor_si512(upper(q0), all(shared.c2_third));
        c1 = q1;
        c3 = q0;
    }

    __attribute__((target("avx512f"))) void round(const std::uint64_t* keys) {
        const __m512i p0 = _mm512_mul_epu32(c0, all(0xD2511F53)), p1 = _mm512_mul_epu32(c2, all(0xCD9E8D57));
        c0 = _mm512_ternarylogic_epi64(upper(p1), c1, all(keys[0]), kXor3);
        c2 = _mm512_ternarylogic_epi64(upper(p0), c3, all(keys[1]), kXor3);
        c1 = p1;
        c3 = p0;
    }

    /// The 32 words in turn. Lanes hold blocks 0 4 1 5 2 6 3 7, so that unpacking leaves them in order.
    __attribute__((target("avx512f"))) void store(std::uint32_t* words) const {
        constexpr __mmask16 kUpper = 0xaaaa;
        const __m512i low = _mm512_mask_shuffle_epi32(c0, kUpper, c1, _MM_PERM_CCAA);
        const __m512i high = _mm512_mask_shuffle_epi32(c2, kUpper, c3, _MM_PERM_CCAA);
        _mm512_store_si512(words, _mm512_unpacklo_epi64(low, high));
        _mm512_store_si512(words + 16, _mm512_unpackhi_epi64(low, high));
    }

  private:
    static constexpr int kXor3 = 0x96;
};

/// philox_words: 59 instructions for 32 words with ten rounds, 41 with seven.
template <int kRounds>
__attribute__((target("avx512f"))) inline void philox_words_avx512(std::uint32_t* words,
                                                                   const PhiloxStream<kRounds>& stream,
                                                                   std::uint64_t block0, std::int64_t count) {
    for (std::int64_t done = 0; done < count;) {
        const std::uint64_t block = block0 + static_cast<std::uint64_t>(done) / 4;
        const PhiloxShared<kRounds> shared(stream, static_cast<std::uint32_t>(block >> 32));
        // Up to where the upper half changes.
        const std::uint64_t left = 4 * ((std::uint64_t{1} << 32) - (block & 0xffffffffu));
        const std::int64_t end =
            static_cast<std::uint64_t>(count - done) < left ? count : done + static_cast<std::int64_t>(left);
        const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
        auto low = static_cast<std::int64_t>(block & 0xffffffffu);
        for (; done < end; done += 64, low += 16) {
            Philox8 a{_mm512_add_epi64(_mm512_set1_epi64(low), order), {}, {}, {}};
            Philox8 b{_mm512_add_epi64(_mm512_set1_epi64(low + 8), order), {}, {}, {}};
            a.begin(shared);
            b.begin(shared);
#pragma GCC unroll 7
            for (int round = 3; round < kRounds; ++round) {
                a.round(shared.keys + 2 * round);
                b.round(shared.keys + 2 * round);
            }
            a.store(words + done);
            b.store(words + done + 32);
        }
    }
}

/// lanes[0] + lanes[1] + ... of 128 sums, each half added to the one before it.
__attribute__((target("avx512f"))) inline double fold_avx512(__m512d (&lanes)[16]) {
#pragma GCC unroll 4
    for (int half = 8; half >= 1; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) lanes[i] = _mm512_add_pd(lanes[i], lanes[i + half]);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(lanes[0]), _mm512_extractf64x4_pd(lanes[0], 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
/// The same of 256 doubles, or floats that are added as doubles. lanes: aligned to 64 bytes.
__attribute__((target("avx512f"))) inline double fold_256_avx512(const double* lanes) {
    __m512d halves[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
        halves[i] = _mm512_add_pd(_mm512_load_pd(lanes + 8 * i), _mm512_load_pd(lanes + 128 + 8 * i));
    return fold_avx512(halves);
}
__attribute__((target("avx512f"))) inline double fold_256_avx512(const float* lanes) {
    __m512d halves[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
        halves[i] = _mm512_add_pd(_mm512_cvtps_pd(_mm256_load_ps(lanes + 8 * i)),
                                  _mm512_cvtps_pd(_mm256_load_ps(lanes + 128 + 8 * i)));
    return fold_avx512(halves);
}

/// a + b in the first lanes of pairs (a, b) and a - b in the second. signs: -1 in the second lanes, else 1;
/// products with it are exact, so fusing them with the addition changes nothing.
__attribute__((target("avx512f"))) inline __m512 butterfly_avx512(__m512 x, __m512 partner, __m512 signs) {
    return _mm512_fmadd_ps(x, signs, partner);
}

/// Lanes whose bit `h` of the number is set hold -1, the others 1.
__attribute__((target("avx512f"))) inline __m512 signs_avx512(int h) {
    const int mask = h == 1 ? 0xaaaa : h == 2 ? 0xcccc : h == 4 ? 0xf0f0 : 0xff00;
    return _mm512_mask_blend_ps(static_cast<__mmask16>(mask), _mm512_set1_ps(1.0f), _mm512_set1_ps(-1.0f));
}

/// The stages h = 1, 2, 4, 8 of a Walsh-Hadamard transform of 16 elements.
__attribute__((target("avx512f"))) inline __m512 first_four_stages_avx512(__m512 y) {
    y = butterfly_avx512(y, _mm512_permute_ps(y, 0xb1), signs_avx512(1));
    y = butterfly_avx512(y, _mm512_permute_ps(y, 0x4e), signs_avx512(2));
    y = butterfly_avx512(y, _mm512_shuffle_f32x4(y, y, 0xb1), signs_avx512(4));
    return butterfly_avx512(y, _mm512_shuffle_f32x4(y, y, 0x4e), signs_avx512(8));
}
__attribute__((target("avx512f"))) inline void first_four_stages_avx512(float* x) {
    _mm512_storeu_ps(x, first_four_stages_avx512(_mm512_loadu_ps(x)));
}

/// The stages h = 1 .. 64 of 128 elements.
__attribute__((target("avx512f"))) inline void first_seven_stages_avx512(__m512 (&y)[8]) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) y[i] = first_four_stages_avx512(y[i]);
#pragma GCC unroll 3
    for (int apart = 1; apart < 8; apart *= 2)
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i)
            if ((i & apart) == 0) {
                const __m512 a = y[i], b = y[i + apart];
                y[i] = _mm512_add_ps(a, b);
                y[i + apart] = _mm512_sub_ps(a, b);
            }
}
__attribute__((target("avx512f"))) inline void first_seven_stages_avx512(float* x) {
    __m512 y[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) y[i] = _mm512_loadu_ps(x + 16 * i);
    first_seven_stages_avx512(y);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm512_storeu_ps(x + 16 * i, y[i]);
}

/// to[0..n) = from[0..n) past the caches: lines of the destination are not read first. Others may rely
/// on it behind end_streams().
__attribute__((target("avx512f"))) inline void stream_avx512(float* to, const float* from, std::int64_t n) {
    std::int64_t i = 0;
    for (; i < n && reinterpret_cast<std::uintptr_t>(to + i) % 64 != 0; ++i) to[i] = from[i];
    for (; i + 16 <= n; i += 16) _mm512_stream_ps(to + i, _mm512_loadu_ps(from + i));
    for (; i < n; ++i) to[i] = from[i];
}

#else

inline constexpr bool kAvx512Written = false;

inline void end_streams() {}
template <int kRounds>
void philox_words_avx512(std::uint32_t* words, const PhiloxStream<kRounds>& stream, std::uint64_t block0,
                         std::int64_t count);
double fold_256_avx512(const double* lanes);
double fold_256_avx512(const float* lanes);
void first_four_stages_avx512(float* x);
void first_seven_stages_avx512(float* x);
void stream_avx512(float* to, const float* from, std::int64_t n);

#endif

}  // namespace qstep::quant::cpu

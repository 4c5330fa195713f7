// The random words of neighbouring elements (engine/random.h), many at a time.
#pragma once

#include <cstdint>
#include <utility>

#include "engine/random.h"
#include "quant/cpu/avx512.h"
#include "quant/cpu/isa.h"

namespace qstep::quant::cpu {

/// One round of Philox4x32 on counter c; the loop of philox4x32 unrolled by hand, because a loop inside
/// keeps compilers from vectorising the loop around it.
inline void philox_round(std::uint32_t (&c)[4], std::uint32_t k0, std::uint32_t k1) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0], p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c[0] = static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<std::uint32_t>(p1);
    c[2] = static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<std::uint32_t>(p0);
}

template <std::uint32_t... Round>
inline void philox_rounds(std::uint32_t (&c)[4], std::uint32_t k0, std::uint32_t k1,
                          std::integer_sequence<std::uint32_t, Round...>) {
    (philox_round(c, k0 + Round * 0x9E3779B9u, k1 + Round * 0xBB67AE85u), ...);
}

/// Words of Philox blocks block0 .. block0 + 15, that is of 64 consecutive elements, as stream.block() gives
/// them. block0: a multiple of 16.
template <int kRounds>
inline void philox_64_words(std::uint32_t* __restrict words, const PhiloxStream<kRounds>& stream,
                            std::uint64_t block0) {
    const auto high = static_cast<std::uint32_t>(block0 >> 32), low = static_cast<std::uint32_t>(block0);
    const auto purpose = static_cast<std::uint32_t>(stream.purpose), step = stream.step;
    const auto k0 = static_cast<std::uint32_t>(stream.seed),
               k1 = static_cast<std::uint32_t>(stream.seed >> 32);
#pragma omp simd
    for (int lane = 0; lane < 16; ++lane) {
        std::uint32_t c[4] = {low + static_cast<std::uint32_t>(lane), high, step, purpose};
        philox_rounds(c, k0, k1, std::make_integer_sequence<std::uint32_t, kRounds>{});
        words[4 * lane] = c[0];
        words[4 * lane + 1] = c[1];
        words[4 * lane + 2] = c[2];
        words[4 * lane + 3] = c[3];
    }
}

/// The same for `count` elements, rounded up to a multiple of 64. words: aligned to 64 bytes.
template <Isa isa, int kRounds>
inline void philox_words(std::uint32_t* words, const PhiloxStream<kRounds>& stream, std::uint64_t block0,
                         std::int64_t count) {
    if constexpr (isa == Isa::avx512 && kAvx512Written)
        return philox_words_avx512(words, stream, block0, (count + 63) / 64 * 64);
    for (std::int64_t i = 0; i < count; i += 64)
        philox_64_words(words + i, stream, block0 + static_cast<std::uint64_t>(i) / 4);
}

}  // namespace qstep::quant::cpu

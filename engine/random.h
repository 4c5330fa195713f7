// Counter-based random numbers: Philox4x32 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). There is no state: a draw is a pure function of (seed, purpose, step, element), so it
// is the same on every device, for every thread count and in every order of evaluation.
//
// Ten rounds, the authors' default, but seven where a gradient is rounded: that needs a draw an element in
// each step, which ten rounds make half of a codec's time, and decides no more than one rounding. With seven
// it still passes all of TestU01's BigCrush (same paper).
#pragma once

#include <cstdint>

#include "engine/macros.h"

namespace qstep {

/// What a random number is used for. Two purposes never share a draw. The values are part of the file
/// format of reproducible runs: append only.
enum class Purpose : std::uint32_t {
    init_weights = 1,
    epoch_order = 2,
    augmentation = 3,
    dropout = 4,
    rounding = 5,
    candidates = 6,
    rotation = 7,
    synthetic_data = 8,
    points = 9,
};

/// Four independent 32-bit words.
struct Draw4 {
    std::uint32_t word[4];
};

namespace detail {

/// The whole product.
QSTEP_HOST_DEVICE inline std::uint64_t multiply_wide(std::uint32_t a, std::uint32_t b) {
#ifdef __CUDA_ARCH__
    // nvcc widens constants with their upper bit set to 64 bits, and adds their upper half, which is 0.
    std::uint64_t product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
    return product;
#else
    return std::uint64_t{a} * b;
#endif
}

}  // namespace detail

/// One Philox4x32 block: counter (c0..c3), key (k0, k1). Matches Random123's known-answer vectors.
template <int kRounds>
QSTEP_HOST_DEVICE inline Draw4 philox4x32(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                          std::uint32_t c3, std::uint32_t k0, std::uint32_t k1) {
    for (int round = 0; round < kRounds; ++round) {
        const std::uint64_t p0 = detail::multiply_wide(0xD2511F53u, c0);
        const std::uint64_t p1 = detail::multiply_wide(0xCD9E8D57u, c2);
        const auto hi0 = static_cast<std::uint32_t>(p0 >> 32), lo0 = static_cast<std::uint32_t>(p0);
        const auto hi1 = static_cast<std::uint32_t>(p1 >> 32), lo1 = static_cast<std::uint32_t>(p1);
        c0 = hi1 ^ c1 ^ k0;
        c1 = lo1;
        c2 = hi0 ^ c3 ^ k1;
        c3 = lo0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

/// Names one stream of draws: (seed, purpose, step). Element e of the stream is word e%4 of block e/4.
template <int kRounds>
struct PhiloxStream {
    std::uint64_t seed = 0;
    Purpose purpose = Purpose::init_weights;
    std::uint32_t step = 0;

    bool operator==(const PhiloxStream&) const = default;
    /// Elements 4*block .. 4*block+3. block < 2^62 is more than any array holds; 32+32 bits of it are used.
    QSTEP_HOST_DEVICE Draw4 block(std::uint64_t block_index) const {
        return philox4x32<kRounds>(static_cast<std::uint32_t>(block_index),
                                   static_cast<std::uint32_t>(block_index >> 32), step,
                                   static_cast<std::uint32_t>(purpose), static_cast<std::uint32_t>(seed),
                                   static_cast<std::uint32_t>(seed >> 32));
    }
    /// 32 independent bits of one element.
    QSTEP_HOST_DEVICE std::uint32_t bits(std::uint64_t element) const {
        return block(element >> 2).word[element & 3];
    }
    /// Uniform in [0, 1) on a grid of 2^-24, exact in float.
    QSTEP_HOST_DEVICE float uniform(std::uint64_t element) const;
    /// Uniform integer in [0, bound), bound >= 1, by multiply-shift; bias below bound / 2^32.
    QSTEP_HOST_DEVICE std::uint32_t below(std::uint64_t element, std::uint32_t bound) const {
        return static_cast<std::uint32_t>((std::uint64_t{bits(element)} * bound) >> 32);
    }
    /// Standard normal (Box-Muller on elements 2e and 2e+1, computed in double). Host only, ten rounds.
    double normal(std::uint64_t element) const;
};

/// What gradients are rounded with.
using RoundingStream = PhiloxStream<7>;
/// For everything else.
using RandomStream = PhiloxStream<10>;

/// The upper 24 bits of a word as a float in [0, 1).
QSTEP_HOST_DEVICE inline float uniform_from_bits(std::uint32_t word) {
    // Signed, because fewer processors convert what is not.
    return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-24f;
}

template <int kRounds>
QSTEP_HOST_DEVICE inline float PhiloxStream<kRounds>::uniform(std::uint64_t element) const {
    return uniform_from_bits(bits(element));
}

}  // namespace qstep

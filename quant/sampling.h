// Sampling without replacement in parallel: the first m images of a keyed permutation of 0 .. n-1.
//
// The permutation is a Feistel network of eight rounds over the next even number of bits, its round keys
// drawn by Philox, walked along its cycles until the image is below n (Black and Rogaway, "Ciphers with
// arbitrary finite domains", 2002). Image i is a function of (seed, step, bucket, n, i) alone, images of
// different i differ, and no threads need to talk.
#pragma once

#include <bit>
#include <cstdint>

#include "engine/macros.h"
#include "engine/random.h"

namespace qstep::quant {

class Permutation {
  public:
    /// n >= 1; `index` tells permutations of one (seed, step) apart.
    QSTEP_HOST_DEVICE Permutation(std::uint64_t seed, std::uint32_t step, std::uint64_t index,
                                  std::uint64_t n)
        : n_(n) {
        const RandomStream stream{seed, Purpose::candidates, step};
        const Draw4 first = stream.block(2 * index), second = stream.block(2 * index + 1);
        for (int i = 0; i < 4; ++i) {
            keys_[i] = first.word[i];
            keys_[4 + i] = second.word[i];
        }
        half_ = 1;
        while (half_ < 32 && n > std::uint64_t{1} << (2 * half_)) ++half_;
    }

    /// Image of i, 0 <= i < n.
    QSTEP_HOST_DEVICE std::uint64_t operator()(std::uint64_t i) const {
        do i = shuffle(i);
        while (i >= n_);
        return i;
    }

  private:
    static constexpr int kRounds = 8;

    /// A permutation of 2 * half_ bits.
    QSTEP_HOST_DEVICE std::uint64_t shuffle(std::uint64_t i) const {
        const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
        std::uint64_t left = i >> half_, right = i & mask;
        for (int round = 0; round < kRounds; ++round) {
            const std::uint64_t mixed = left ^ (mix(static_cast<std::uint32_t>(right) ^ keys_[round]) & mask);
            left = right;
            right = mixed;
        }
        return left << half_ | right;
    }

    /// MurmurHash3's finaliser: every input bit reaches every output bit.
    static QSTEP_HOST_DEVICE std::uint32_t mix(std::uint32_t x) {
        x ^= x >> 16;
        x *= 0x85ebca6bu;
        x ^= x >> 13;
        x *= 0xc2b2ae35u;
        return x ^ (x >> 16);
    }

    std::uint64_t n_;
    std::uint32_t keys_[kRounds];
    int half_;
};

}  // namespace qstep::quant

// The values of a bucket's codes in shared memory: where levels are few, a look costs less than the formula.
//
// A table is 16 floats in as many banks, and a warp has two of them or one, so no look waits for another. In
// the machine code of sm_90 a look takes 2 instructions where the formula of `standard` takes 8.
#pragma once

#include "quant/cuda/quad_tile.cuh"

namespace qstep::quant::cuda {

/// Stands for none: values come from the Decoder.
struct NoTable {
    static constexpr bool kThere = false;
};
template <typename Algorithm>
constexpr bool kTabled = requires {
    Algorithm::kMostFractionBits;
};

/// For algorithms with kMostFractionBits (quant/standard.h), whose codes are numbers from 0 on.
class ValueTable {
  public:
    static constexpr bool kThere = true;
    static constexpr int kLevels = 16;

    /// Shared memory of a block of kThreads, of which kOfBucket have a bucket.
    template <int kThreads, int kOfBucket>
    struct Storage {
        alignas(kLevels * 4) float of_bucket[kThreads / kOfBucket][kLevels];
        __device__ ValueTable mine() {
            return ValueTable(of_bucket[static_cast<int>(threadIdx.x) / kOfBucket]);
        }
    };

    /// Written by the first threads of a bucket, once; all threads of the warp take part.
    template <typename Decoder>
    __device__ void fill(const Decoder& decoder, int thread) const {
        if (thread < kLevels)
            values_[thread] = decoder.value(Decoder::code(static_cast<std::uint32_t>(thread)));
        __syncwarp();
    }
    /// Of a code of a bucket that is not finite, any value.
    __device__ float operator[](std::uint32_t code) const { return values_[code % kLevels]; }

    __device__ explicit ValueTable(float* values) : values_(values) {}

  private:
    float* values_;
};

}  // namespace qstep::quant::cuda

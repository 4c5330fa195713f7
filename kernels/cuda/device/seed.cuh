// Seeds that lie in device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/reduce.cuh"

namespace qstep::cuda {

/// The seed, in registers that the threads of a warp share; what follows from it alone, such as the keys of
/// Philox's rounds, is then worked out once a warp. All threads of the warp take part.
__device__ inline std::uint64_t seed_of_warp(const std::int64_t* seed) {
    const auto value = static_cast<std::uint64_t>(*seed);
    const std::uint64_t low = __reduce_or_sync(kAllLanes, static_cast<unsigned>(value));
    const std::uint64_t high = __reduce_or_sync(kAllLanes, static_cast<unsigned>(value >> 32));
    return high << 32 | low;
}

}  // namespace qstep::cuda

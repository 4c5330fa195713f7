// Sums over the threads of a block and over blocks, in an order that depends on sizes alone.
#pragma once

#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kWarp = 32;

/// Sum over groups of kLanes neighbouring threads, the same in all of them. All threads of the warp take
/// part.
template <int kLanes, typename Number>
__device__ Number group_sum(Number value) {
    static_assert(kLanes <= kWarp && (kLanes & (kLanes - 1)) == 0);
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
}

/// Largest value of the group; NaN only where all are NaN.
template <int kLanes>
__device__ float group_maximum(float value) {
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2)
        value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
    return value;
}

/// Sum over the block, valid in the first warp. Called by all threads; kThreads is their number. A second
/// call needs a barrier in between.
template <int kThreads>
__device__ double block_sum(double value) {
    static_assert(kThreads % kWarp == 0 && kThreads <= kWarp * kWarp);
    constexpr int kWarps = kThreads / kWarp;
    QSTEP_SHARED double of_warps[kWarps];
    const int thread = static_cast<int>(threadIdx.x);
    value = group_sum<kWarp>(value);
    if (thread % kWarp == 0) of_warps[thread / kWarp] = value;
    __syncthreads();
    double total = 0;
    for (int w = 0; w < kWarps; ++w) total += of_warps[w];
    return total;
}

/// Whether this block is the last of `blocks` to get here; it then sees what all of them wrote before.
/// `arrived` is zero before the first block comes and after the last.
__device__ inline bool last_to_arrive(int* arrived, int blocks) {
    QSTEP_SHARED int is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicAdd(arrived, 1) == blocks - 1;
        if (is_last) atomicExch(arrived, 0);
    }
    __syncthreads();
    if (is_last) __threadfence();
    return is_last != 0;
}

}  // namespace qstep::cuda

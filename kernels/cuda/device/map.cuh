// Elementwise kernels: one loop for all, several 16-byte loads in flight before the first result is needed.
#pragma once

#include <algorithm>

#include "kernels/cuda/device/vector.cuh"

namespace qstep::cuda {

inline constexpr int kMapThreads = 256;
/// Vectors that a thread loads before it uses one.
inline constexpr int kMapBatch = 4;
/// Enough blocks for every multiprocessor of a large GPU, several times over; beyond that blocks loop.
inline constexpr std::int64_t kMapBlocks = 2112;

/// Map is a struct of pointers and numbers with
///   kVector                           elements of its vectors;
///   begin()                           reads what is the same for all elements;
///   load<kCount>(first)               the inputs of elements first..first+kCount-1;
///   store<kCount>(first, inputs)      computes and writes them.
/// It reads and writes no other elements then, so inputs and outputs may be the same array.
template <int kVector, typename Map>
__global__ void __launch_bounds__(kMapThreads) map_kernel(Map map, std::int64_t count) {
    wait_for_predecessor();
    map.begin();
    const std::int64_t vectors = count / kVector;
    const std::int64_t first =
        static_cast<std::int64_t>(blockIdx.x) * (kMapBatch * kMapThreads) + threadIdx.x;
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * (kMapBatch * kMapThreads);
    for (std::int64_t at = first; at < vectors; at += stride) {
        decltype(map.template load<kVector>(0)) inputs[kMapBatch];
#pragma unroll
        for (int i = 0; i < kMapBatch; ++i)
            if (at + i * kMapThreads < vectors)
                inputs[i] = map.template load<kVector>((at + i * kMapThreads) * kVector);
#pragma unroll
        for (int i = 0; i < kMapBatch; ++i)
            if (at + i * kMapThreads < vectors)
                map.template store<kVector>((at + i * kMapThreads) * kVector, inputs[i]);
    }
    if constexpr (kVector > 1) {
        const std::int64_t rest = vectors * kVector + threadIdx.x;
        if (blockIdx.x == gridDim.x - 1 && rest < count)
            map.template store<1>(rest, map.template load<1>(rest));
    }
}

/// Runs the map over `count` elements, Map::kVector at a time where `vectors` allows it.
template <typename Map>
void launch_map(const Context& context, const char* name, const Map& map, std::int64_t count, bool vectors) {
    if (count == 0) return;
    const std::int64_t a_block = (vectors ? Map::kVector : 1) * kMapBatch * kMapThreads;
    const std::int64_t blocks = std::clamp<std::int64_t>((count + a_block - 1) / a_block, 1, kMapBlocks);
    const auto kernel = vectors ? map_kernel<Map::kVector, Map> : map_kernel<1, Map>;
    launch(context, name, kernel, {blocks, kMapThreads}, map, count);
}

}  // namespace qstep::cuda

// What maximum and average pooling share on CUDA: one thread for each vector of channels of a position.
#pragma once

#include <limits>
#include <type_traits>

#include "kernels/cuda/device/vector.cuh"
#include "kernels/pooling.h"

namespace qstep::cuda {

inline constexpr int kPoolThreads = 128;

/// A PoolShape with the numbers that kernels divide by in 32 bits, which is several times faster.
struct PoolSize {
    std::int64_t channels, positions;  // N*H*W or N*P*Q, whichever is gone through
    unsigned height, width, out_height, out_width;
    int kernel, stride;
    unsigned vectors;  // of the channels
};

inline PoolSize pool_size(const PoolShape& shape, std::int64_t positions, int vector) {
    const std::int64_t vectors = shape.channels / vector;
    QSTEP_CHECK(positions * vectors < std::numeric_limits<std::int32_t>::max(),
                "{} has more elements than pooling can number", shape.x().to_string());
    return {shape.channels,
            positions,
            static_cast<unsigned>(shape.height),
            static_cast<unsigned>(shape.width),
            static_cast<unsigned>(shape.out_height()),
            static_cast<unsigned>(shape.out_width()),
            static_cast<int>(shape.kernel),
            static_cast<int>(shape.stride),
            static_cast<unsigned>(vectors)};
}

inline LaunchShape pool_launch(const PoolSize& size) {
    return {(size.positions * size.vectors + kPoolThreads - 1) / kPoolThreads, kPoolThreads};
}

/// Calls body with the elements of the widest vectors that the channels and all addresses allow, a
/// std::integral_constant.
template <typename T, typename Body, typename... Pointers>
void with_pool_vectors(const PoolShape& shape, const Body& body, const Pointers*... addresses) {
    if (shape.channels % kVectorOf<T> == 0 && aligned_for_vectors(addresses...))
        body(std::integral_constant<int, kVectorOf<T>>{});
    else
        body(std::integral_constant<int, 1>{});
}

/// The position of this thread in [N, rows, columns] and the first of its channels.
struct PoolPlace {
    bool active;
    unsigned image;
    int row, column;
    std::int64_t position, channel;

    template <int kVector>
    __device__ static PoolPlace of(const PoolSize& size, unsigned rows, unsigned columns) {
        const unsigned index = blockIdx.x * kPoolThreads + threadIdx.x;
        const unsigned position = index / size.vectors;
        PoolPlace place;
        place.active = position < size.positions;
        place.image = position / (rows * columns);
        place.row = static_cast<int>(position / columns % rows);
        place.column = static_cast<int>(position % columns);
        place.position = position;
        place.channel = static_cast<std::int64_t>(index % size.vectors) * kVector;
        return place;
    }
    /// All of them, for wait_for_predecessor().
    __device__ std::int64_t indices() const { return row | column | position | channel; }
};

/// The windows along one axis that hold position `at`: first..last (last < first: none).
struct WindowRange {
    int first, last;
    __device__ WindowRange(int at, int kernel, int stride, int windows)
        : first(at < kernel ? 0 : (at - kernel) / stride + 1), last(at / stride) {
        if (last > windows - 1) last = windows - 1;
    }
};

}  // namespace qstep::cuda

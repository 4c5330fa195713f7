// Average pooling. Small windows are summed by one thread for each vector of channels. Large ones, such as
// the global average at the end of ResNet, are shared by the threads of a block: there are few of them.
//
// Bytes and time at 4.3 TB/s for [128,8,8,64] (0.5 M elements) over the whole image, f32 / bf16, one addition
// an element: 0.5 us / 0.25 us either way, so that both kernels cost a launch.
#include "kernels/cuda/device/windows.cuh"
#include "kernels/float_types.h"
#include "kernels/pooling.h"

namespace qstep::cuda {

namespace {

// Windows of this many elements or more are shared by a block.
constexpr std::int64_t kSharedWindow = 16;
constexpr int kSharedThreads = 256;

template <typename T, int kVector>
__device__ void store_mean(const PoolSize& size, T* y, float (&sum)[kVector]) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) sum[v] /= static_cast<float>(size.kernel * size.kernel);
    store_floats(y, sum);
}

template <typename T, int kVector>
__global__ void __launch_bounds__(kPoolThreads) forward_kernel(PoolSize size, T* y, const T* x) {
    const auto place = PoolPlace::of<kVector>(size, size.out_height, size.out_width);
    wait_for_predecessor(place.indices());
    if (!place.active) return;
    const std::int64_t top = static_cast<std::int64_t>(place.image) * size.height + place.row * size.stride;
    const T* corner = x + (top * size.width + place.column * size.stride) * size.channels + place.channel;
    float sum[kVector] = {};
    for (int i = 0; i < size.kernel; ++i) {
#pragma unroll 4
        for (int j = 0; j < size.kernel; ++j) {
            float value[kVector];
            load_floats(value, corner + (static_cast<std::int64_t>(i) * size.width + j) * size.channels);
#pragma unroll
            for (int v = 0; v < kVector; ++v) sum[v] += value[v];
        }
    }
    store_mean(size, y + place.position * size.channels + place.channel, sum);
}

// A block sums `vectors` neighbouring vectors of one window; thread t has vector t % vectors and every
// (kSharedThreads / vectors)-th element of the window.
struct SharedWindows {
    int vectors, lanes;
    unsigned tiles;  // blocks of a window
};

template <typename T, int kVector>
__global__ void __launch_bounds__(kSharedThreads)
    shared_forward_kernel(PoolSize size, SharedWindows shared, T* y, const T* x) {
    QSTEP_SHARED float sums[kSharedThreads * kVector];
    const unsigned position = blockIdx.x / shared.tiles, tile = blockIdx.x % shared.tiles;
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread / shared.vectors;
    const unsigned vector =
        tile * static_cast<unsigned>(shared.vectors) + static_cast<unsigned>(thread % shared.vectors);
    const std::int64_t channel = static_cast<std::int64_t>(vector) * kVector;
    const bool active = lane < shared.lanes && vector < size.vectors;
    const std::int64_t image = position / (size.out_height * size.out_width);
    const std::int64_t top = image * size.height + position / size.out_width % size.out_height * size.stride;
    const std::int64_t corner_at =
        (top * size.width + position % size.out_width * size.stride) * size.channels + channel;
    const T* corner = x + corner_at;
    wait_for_predecessor(lane | corner_at);
    float sum[kVector] = {};
    if (active) {
#pragma unroll 4
        for (int e = lane; e < size.kernel * size.kernel; e += shared.lanes) {
            float value[kVector];
            const std::int64_t at = static_cast<std::int64_t>(e / size.kernel) * size.width + e % size.kernel;
            load_floats(value, corner + at * size.channels);
#pragma unroll
            for (int v = 0; v < kVector; ++v) sum[v] += value[v];
        }
    }
#pragma unroll
    for (int v = 0; v < kVector; ++v) sums[v * kSharedThreads + thread] = sum[v];
    __syncthreads();
    // Halve the lanes until one is left; an odd one waits.
    for (int lanes = shared.lanes; lanes > 1; lanes = (lanes + 1) / 2) {
        const int half = (lanes + 1) / 2;
        if (active && lane + half < lanes)
#pragma unroll
            for (int v = 0; v < kVector; ++v)
                sums[v * kSharedThreads + thread] +=
                    sums[v * kSharedThreads + thread + half * shared.vectors];
        __syncthreads();
    }
    if (!active || lane != 0) return;
#pragma unroll
    for (int v = 0; v < kVector; ++v) sum[v] = sums[v * kSharedThreads + thread];
    store_mean(size, y + position * size.channels + channel, sum);
}

template <typename T, int kVector, bool kAccumulate>
__global__ void __launch_bounds__(kPoolThreads) backward_kernel(PoolSize size, T* dx, const T* dy) {
    const auto place = PoolPlace::of<kVector>(size, size.height, size.width);
    wait_for_predecessor(place.indices());
    if (!place.active) return;
    const std::int64_t at = place.position * size.channels + place.channel;
    float sum[kVector] = {};
    const WindowRange vertical(place.row, size.kernel, size.stride, static_cast<int>(size.out_height));
    const WindowRange horizontal(place.column, size.kernel, size.stride, static_cast<int>(size.out_width));
    for (int p = vertical.first; p <= vertical.last; ++p)
        for (int q = horizontal.first; q <= horizontal.last; ++q) {
            const std::int64_t window =
                (static_cast<std::int64_t>(place.image) * size.out_height + p) * size.out_width + q;
            float gradient[kVector];
            load_floats(gradient, dy + window * size.channels + place.channel);
#pragma unroll
            for (int v = 0; v < kVector; ++v) sum[v] += gradient[v];
        }
    float old[kVector] = {};
    if constexpr (kAccumulate) load_floats(old, static_cast<const T*>(dx) + at);
#pragma unroll
    for (int v = 0; v < kVector; ++v)
        sum[v] = sum[v] / static_cast<float>(size.kernel * size.kernel) + old[v];
    store_floats(dx + at, sum);
}

template <typename T, int kVector>
void launch_forward(Context& context, const PoolShape& shape, T* y, const T* x) {
    const std::int64_t windows = shape.batch * shape.out_height() * shape.out_width();
    const PoolSize size = pool_size(shape, windows, kVector);
    if (shape.kernel * shape.kernel < kSharedWindow) {
        launch(context, "average_pool_forward", forward_kernel<T, kVector>, pool_launch(size), size, y, x);
        return;
    }
    constexpr unsigned kWidest = 32;
    const unsigned vectors = std::min(size.vectors, kWidest);
    const SharedWindows shared{static_cast<int>(vectors), kSharedThreads / static_cast<int>(vectors),
                               (size.vectors + vectors - 1) / vectors};
    launch(context, "average_pool_forward", shared_forward_kernel<T, kVector>,
           {windows * shared.tiles, kSharedThreads}, size, shared, y, x);
}

template <typename T, int kVector>
void launch_backward(Context& context, const PoolShape& shape, T* dx, bool accumulate, const T* dy) {
    const PoolSize size = pool_size(shape, shape.batch * shape.height * shape.width, kVector);
    const auto kernel = accumulate ? backward_kernel<T, kVector, true> : backward_kernel<T, kVector, false>;
    launch(context, "average_pool_backward", kernel, pool_launch(size), size, dx, dy);
}

}  // namespace

void average_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    qstep::detail::check_pool(shape, x, y);
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = y.as<T>();
        const auto* from = x.as<T>();
        with_pool_vectors<T>(
            shape, [&](auto vector) { launch_forward<T, vector.value>(context, shape, to, from); }, to, from);
    });
}

void average_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                           const Tensor& dy) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_pool(shape, dx, dy);
    const bool accumulate = mode == GradMode::accumulate;
    with_float_type(dx.dtype, "dx", [&]<typename T>(T) {
        auto* to = dx.as<T>();
        const auto* gradient = dy.as<T>();
        with_pool_vectors<T>(
            shape,
            [&](auto vector) { launch_backward<T, vector.value>(context, shape, to, accumulate, gradient); },
            to, gradient);
    });
}

}  // namespace qstep::cuda

// Maximum pooling. Forward and backward read each input once from memory (windows overlap in the cache); the
// backward pass gathers, so that nothing is shared.
//
// Bytes and time at 4.3 TB/s for [128,16,16,64] (2.1 M elements), windows of 2 (AlexNet), f32 / bf16:
//   forward    1.25 elements of memory and 4 comparisons an input      2.4 us / 1.2 us
//   backward   x, dx and a quarter dy, 3 comparisons an input          4.4 us / 2.2 us
#include "kernels/cuda/device/windows.cuh"
#include "kernels/float_types.h"
#include "kernels/pooling.h"

namespace qstep::cuda {

namespace {

// NaN wins, as in PyTorch.
template <typename T, int kVector>
__global__ void __launch_bounds__(kPoolThreads) forward_kernel(PoolSize size, T* y, const T* x) {
    const auto place = PoolPlace::of<kVector>(size, size.out_height, size.out_width);
    wait_for_predecessor(place.indices());
    if (!place.active) return;
    const std::int64_t top = static_cast<std::int64_t>(place.image) * size.height + place.row * size.stride;
    const T* corner = x + (top * size.width + place.column * size.stride) * size.channels + place.channel;
    float best[kVector];
#pragma unroll
    for (int v = 0; v < kVector; ++v) best[v] = -INFINITY;
    for (int i = 0; i < size.kernel; ++i) {
#pragma unroll 4
        for (int j = 0; j < size.kernel; ++j) {
            float value[kVector];
            load_floats(value, corner + (static_cast<std::int64_t>(i) * size.width + j) * size.channels);
#pragma unroll
            for (int v = 0; v < kVector; ++v)
                best[v] = (value[v] > best[v]) || (value[v] != value[v]) ? value[v] : best[v];
        }
    }
    store_floats(y + place.position * size.channels + place.channel, best);
}

// Whether element `here` of the window at `corner` is the one that forward chose: one bit a channel.
template <typename T, int kVector>
__device__ unsigned chosen_channels(const PoolSize& size, const T* corner, int here,
                                    const float (&own)[kVector]) {
    unsigned chosen = (1u << kVector) - 1u;
    int element = 0;
    for (int i = 0; i < size.kernel; ++i)
        for (int j = 0; j < size.kernel; ++j, ++element) {
            if (element == here) continue;
            float other[kVector];
            load_floats(other, corner + (static_cast<std::int64_t>(i) * size.width + j) * size.channels);
#pragma unroll
            for (int v = 0; v < kVector; ++v) {
                const float a = own[v], b = other[v];
                // A NaN beats all but a later NaN; among numbers the first of equals wins.
                const bool wins = element < here ? (a > b) || (a != a) : (a >= b) || ((a != a) && (b == b));
                if (!wins) chosen &= ~(1u << v);
            }
        }
    return chosen;
}

template <typename T, int kVector, bool kAccumulate>
__global__ void __launch_bounds__(kPoolThreads)
    backward_kernel(PoolSize size, T* dx, const T* dy, const T* x) {
    const auto place = PoolPlace::of<kVector>(size, size.height, size.width);
    wait_for_predecessor(place.indices());
    if (!place.active) return;
    const std::int64_t at = place.position * size.channels + place.channel;
    float own[kVector], sum[kVector] = {};
    load_floats(own, x + at);
    const WindowRange vertical(place.row, size.kernel, size.stride, static_cast<int>(size.out_height));
    const WindowRange horizontal(place.column, size.kernel, size.stride, static_cast<int>(size.out_width));
    for (int p = vertical.first; p <= vertical.last; ++p)
        for (int q = horizontal.first; q <= horizontal.last; ++q) {
            const int top = p * size.stride, left = q * size.stride;
            const std::int64_t row = static_cast<std::int64_t>(place.image) * size.height + top;
            const T* corner = x + (row * size.width + left) * size.channels + place.channel;
            const std::int64_t window =
                (static_cast<std::int64_t>(place.image) * size.out_height + p) * size.out_width + q;
            float gradient[kVector];
            load_floats(gradient, dy + window * size.channels + place.channel);
            const unsigned chosen =
                chosen_channels(size, corner, (place.row - top) * size.kernel + (place.column - left), own);
#pragma unroll
            for (int v = 0; v < kVector; ++v) sum[v] += (chosen >> v) & 1u ? gradient[v] : 0.0f;
        }
    if constexpr (kAccumulate) {
        float old[kVector];
        load_floats(old, static_cast<const T*>(dx) + at);
#pragma unroll
        for (int v = 0; v < kVector; ++v) sum[v] += old[v];
    }
    store_floats(dx + at, sum);
}

template <typename T, int kVector>
void launch_forward(Context& context, const PoolShape& shape, T* y, const T* x) {
    const PoolSize size = pool_size(shape, shape.batch * shape.out_height() * shape.out_width(), kVector);
    launch(context, "max_pool_forward", forward_kernel<T, kVector>, pool_launch(size), size, y, x);
}

template <typename T, int kVector>
void launch_backward(Context& context, const PoolShape& shape, T* dx, bool accumulate, const T* dy,
                     const T* x) {
    const PoolSize size = pool_size(shape, shape.batch * shape.height * shape.width, kVector);
    const auto kernel = accumulate ? backward_kernel<T, kVector, true> : backward_kernel<T, kVector, false>;
    launch(context, "max_pool_backward", kernel, pool_launch(size), size, dx, dy, x);
}

}  // namespace

void max_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    qstep::detail::check_pool(shape, x, y);
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = y.as<T>();
        const auto* from = x.as<T>();
        with_pool_vectors<T>(
            shape, [&](auto vector) { launch_forward<T, vector.value>(context, shape, to, from); }, to, from);
    });
}

void max_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                       const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_pool(shape, x, dy);
    check_tensor(dx, "dx", x.dtype, shape.x());
    const bool accumulate = mode == GradMode::accumulate;
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = dx.as<T>();
        const auto *gradient = dy.as<T>(), *from = x.as<T>();
        with_pool_vectors<T>(
            shape,
            [&](auto vector) {
                launch_backward<T, vector.value>(context, shape, to, accumulate, gradient, from);
            },
            to, gradient, from);
    });
}

}  // namespace qstep::cuda

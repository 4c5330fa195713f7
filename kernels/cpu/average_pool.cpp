#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pooling.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

// Output rows begin..end of all N*P.
template <typename T>
QSTEP_CLONES void forward_rows(T* y, const T* x, PoolShape s, std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = s.out_height(), columns = s.out_width();
    const auto window = static_cast<float>(s.kernel * s.kernel);
    float sum[kPoolChannels];
    for (std::int64_t row = begin; row < end; ++row)
        for (std::int64_t q = 0; q < columns; ++q) {
            const std::int64_t top = row / rows * s.height + row % rows * s.stride;
            const T* corner = x + (top * s.width + q * s.stride) * s.channels;
            T* to = y + (row * columns + q) * s.channels;
            for (std::int64_t c = 0; c < s.channels; c += kPoolChannels) {
                const std::int64_t lanes = std::min(kPoolChannels, s.channels - c);
                std::fill_n(sum, kPoolChannels, 0.0f);
                for (std::int64_t i = 0; i < s.kernel * s.kernel; ++i) {
                    const T* at = corner + (i / s.kernel * s.width + i % s.kernel) * s.channels + c;
#pragma omp simd
                    for (std::int64_t k = 0; k < lanes; ++k) sum[k] += to_float(at[k]);
                }
#pragma omp simd
                for (std::int64_t k = 0; k < lanes; ++k) to[c + k] = from_float<T>(sum[k] / window);
            }
        }
}

// Input rows begin..end of all N*H: each element gathers from the windows it is in, so nothing is shared.
template <typename T, bool kAccumulate>
QSTEP_CLONES void backward_rows(T* dx, const T* dy, PoolShape s, std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = s.out_height(), columns = s.out_width();
    const auto window = static_cast<float>(s.kernel * s.kernel);
    float sum[kPoolChannels];
    for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t n = row / s.height;
        const auto vertical = windows_over(row % s.height, s.kernel, s.stride, rows);
        for (std::int64_t w = 0; w < s.width; ++w) {
            const auto horizontal = windows_over(w, s.kernel, s.stride, columns);
            for (std::int64_t c = 0; c < s.channels; c += kPoolChannels) {
                const std::int64_t lanes = std::min(kPoolChannels, s.channels - c);
                std::fill_n(sum, kPoolChannels, 0.0f);
                for (std::int64_t p = vertical.first; p <= vertical.last; ++p)
                    for (std::int64_t q = horizontal.first; q <= horizontal.last; ++q) {
                        const T* gradient = dy + ((n * rows + p) * columns + q) * s.channels + c;
#pragma omp simd
                        for (std::int64_t k = 0; k < lanes; ++k) sum[k] += to_float(gradient[k]);
                    }
                T* to = dx + (row * s.width + w) * s.channels + c;
#pragma omp simd
                for (std::int64_t k = 0; k < lanes; ++k) {
                    float value = sum[k] / window;
                    if constexpr (kAccumulate) value += to_float(to[k]);
                    to[k] = from_float<T>(value);
                }
            }
        }
    }
}

}  // namespace

void average_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    pool_forward(context, shape, y, x, [](auto... arguments) { forward_rows(arguments...); });
}

void average_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                           const Tensor& dy) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_pool(shape, dx, dy);
    with_float_type(dx.dtype, "dx", [&]<typename T>(T) {
        auto* to = dx.as<T>();
        const auto* gradient = dy.as<T>();
        const auto rows = mode == GradMode::accumulate ? backward_rows<T, true> : backward_rows<T, false>;
        parallel_ranges(context, shape.batch * shape.height, 1, shape.width * shape.channels,
                        [=](std::int64_t begin, std::int64_t end) { rows(to, gradient, shape, begin, end); });
    });
}

}  // namespace qstep::cpu

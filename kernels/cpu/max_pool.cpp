#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pooling.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

// Output rows begin..end of all N*P. NaN wins, as in PyTorch.
template <typename T>
QSTEP_CLONES void forward_rows(T* y, const T* x, PoolShape s, std::int64_t begin, std::int64_t end) {
    const std::int64_t rows = s.out_height(), columns = s.out_width();
    float best[kPoolChannels];
    for (std::int64_t row = begin; row < end; ++row)
        for (std::int64_t q = 0; q < columns; ++q) {
            const std::int64_t top = row / rows * s.height + row % rows * s.stride;
            const T* corner = x + (top * s.width + q * s.stride) * s.channels;
            T* to = y + (row * columns + q) * s.channels;
            for (std::int64_t c = 0; c < s.channels; c += kPoolChannels) {
                const std::int64_t lanes = std::min(kPoolChannels, s.channels - c);
                std::fill_n(best, kPoolChannels, -std::numeric_limits<float>::infinity());
                for (std::int64_t i = 0; i < s.kernel * s.kernel; ++i) {
                    const T* at = corner + (i / s.kernel * s.width + i % s.kernel) * s.channels + c;
#pragma omp simd
                    for (std::int64_t k = 0; k < lanes; ++k) {
                        const float value = to_float(at[k]);
                        best[k] = (value > best[k]) | (value != value) ? value : best[k];
                    }
                }
#pragma omp simd
                for (std::int64_t k = 0; k < lanes; ++k) to[c + k] = from_float<T>(best[k]);
            }
        }
}

// Adds dy to sum where the element `here` of the window is the one forward chose.
template <typename T>
inline void add_where_chosen(float* sum, const T* dy, const T* corner, std::int64_t here, std::int64_t lanes,
                             const PoolShape& s) {
    const auto element = [&](std::int64_t i) {
        return corner + (i / s.kernel * s.width + i % s.kernel) * s.channels;
    };
    const T* own = element(here);
    std::int32_t chosen[kPoolChannels];
    std::fill_n(chosen, kPoolChannels, 1);
    for (std::int64_t i = 0; i < s.kernel * s.kernel; ++i) {
        if (i == here) continue;
        const T* other = element(i);
        const bool earlier = i < here;
#pragma omp simd
        for (std::int64_t k = 0; k < lanes; ++k) {
            const float a = to_float(own[k]), b = to_float(other[k]);
            // A NaN beats all but a later NaN; among numbers the first of equals wins.
            const bool wins = earlier ? (a > b) | (a != a) : (a >= b) | ((a != a) & (b == b));
            chosen[k] &= static_cast<std::int32_t>(wins);
        }
    }
#pragma omp simd
    for (std::int64_t k = 0; k < lanes; ++k) sum[k] += chosen[k] ? to_float(dy[k]) : 0.0f;
}

// Input rows begin..end of all N*H: each element gathers from the windows it is in, so nothing is shared.
template <typename T, bool kAccumulate>
QSTEP_CLONES void backward_rows(T* dx, const T* dy, const T* x, PoolShape s, std::int64_t begin,
                                std::int64_t end) {
    const std::int64_t rows = s.out_height(), columns = s.out_width();
    float sum[kPoolChannels];
    for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t n = row / s.height, h = row % s.height;
        const auto vertical = windows_over(h, s.kernel, s.stride, rows);
        for (std::int64_t w = 0; w < s.width; ++w) {
            const auto horizontal = windows_over(w, s.kernel, s.stride, columns);
            for (std::int64_t c = 0; c < s.channels; c += kPoolChannels) {
                const std::int64_t lanes = std::min(kPoolChannels, s.channels - c);
                std::fill_n(sum, kPoolChannels, 0.0f);
                for (std::int64_t p = vertical.first; p <= vertical.last; ++p)
                    for (std::int64_t q = horizontal.first; q <= horizontal.last; ++q) {
                        const std::int64_t top = p * s.stride, left = q * s.stride;
                        const T* corner = x + ((n * s.height + top) * s.width + left) * s.channels + c;
                        const T* gradient = dy + ((n * rows + p) * columns + q) * s.channels + c;
                        add_where_chosen(sum, gradient, corner, (h - top) * s.kernel + (w - left), lanes, s);
                    }
                T* to = dx + (row * s.width + w) * s.channels + c;
#pragma omp simd
                for (std::int64_t k = 0; k < lanes; ++k)
                    to[k] = from_float<T>(kAccumulate ? to_float(to[k]) + sum[k] : sum[k]);
            }
        }
    }
}

}  // namespace

void max_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    pool_forward(context, shape, y, x, [](auto... arguments) { forward_rows(arguments...); });
}

void max_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                       const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_pool(shape, x, dy);
    check_tensor(dx, "dx", x.dtype, shape.x());
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = dx.as<T>();
        const auto *gradient = dy.as<T>(), *from = x.as<T>();
        const auto rows = mode == GradMode::accumulate ? backward_rows<T, true> : backward_rows<T, false>;
        parallel_ranges(
            context, shape.batch * shape.height, 1, shape.width * shape.channels,
            [=](std::int64_t begin, std::int64_t end) { rows(to, gradient, from, shape, begin, end); });
    });
}

}  // namespace qstep::cpu

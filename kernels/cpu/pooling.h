// What maximum and average pooling share on the CPU.
#pragma once

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/float_types.h"
#include "kernels/pooling.h"

namespace qstep::cpu {

/// Channels handled at once, so that their sums stay in registers or the nearest cache.
constexpr std::int64_t kPoolChannels = 64;

/// y from x, both checked: rows(T* y, const T* x, shape, begin, end) makes output rows begin..end of all N*P.
template <typename Rows>
void pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x, Rows rows) {
    qstep::detail::check_pool(shape, x, y);
    const std::int64_t cost = shape.out_width() * shape.channels * shape.kernel * shape.kernel;
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = y.as<T>();
        const auto* from = x.as<T>();
        parallel_ranges(context, shape.batch * shape.out_height(), 1, cost,
                        [=](std::int64_t begin, std::int64_t end) { rows(to, from, shape, begin, end); });
    });
}

/// The windows along one axis that hold position `at`: first..last (last < first: none).
struct WindowRange {
    std::int64_t first, last;
};
inline WindowRange windows_over(std::int64_t at, std::int64_t kernel, std::int64_t stride,
                                std::int64_t windows) {
    const std::int64_t first = at < kernel ? 0 : (at - kernel) / stride + 1;
    return {first, std::min(at / stride, windows - 1)};
}

}  // namespace qstep::cpu

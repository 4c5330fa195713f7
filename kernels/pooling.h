// Pooling over windows of NHWC activations, f32 or bf16. No padding; a last window that does not fit is
// dropped, as in PyTorch's default. Sums are in float32 and rounded once. Deterministic, whatever the number
// of threads. Throws where the window does not fit or a tensor has another shape.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// Extents of one pooling, in elements; windows of kernel x kernel, `stride` apart.
struct PoolShape {
    std::int64_t batch, height, width, channels, kernel, stride;

    std::int64_t out_height() const { return (height - kernel) / stride + 1; }
    std::int64_t out_width() const { return (width - kernel) / stride + 1; }
    Shape x() const { return {batch, height, width, channels}; }
    Shape y() const { return {batch, out_height(), out_width(), channels}; }
};

/// y = maximum of the window; NaN where it holds one.
void max_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x);
/// dx (+)= dy at the first largest element (or the last NaN) of its window in row-major order, PyTorch's
/// choice, and 0 elsewhere.
void max_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                       const Tensor& dy, const Tensor& x);
/// y = mean of the window. With kernel = height = width this is global average pooling.
void average_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x);
/// dx (+)= sum over the windows an element is in of dy / kernel^2.
void average_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                           const Tensor& dy);

namespace detail {

/// Throws unless the window fits and both tensors have the shape's extents and one type.
inline void check_pool(const PoolShape& shape, const Tensor& x, const Tensor& y) {
    QSTEP_CHECK(
        shape.kernel >= 1 && shape.stride >= 1 && shape.kernel <= shape.height && shape.kernel <= shape.width,
        "a pooling window of {} with stride {} does not fit {}", shape.kernel, shape.stride,
        shape.x().to_string());
    check_tensor(x, "x", x.dtype, shape.x());
    check_tensor(y, "y", x.dtype, shape.y());
}

}  // namespace detail

}  // namespace qstep

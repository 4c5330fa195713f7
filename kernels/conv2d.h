// Two-dimensional convolution (cross-correlation, as in PyTorch), forward and both gradients.
//
// Activations are NHWC in f32 or bf16. Weights w and their gradient dw are the f32 masters [O,I,KH,KW] or,
// where weight_layout() of weight_copies.h says so, the device's copies of them; sums are float32. With P =
// pad and S = stride:
//   y[n,p,q,o] = bias[o] + sum_{i,r,s} x[n, p*S+r-P, q*S+s-P, i] * w[o,i,r,s]        (0 outside the image)
// Deterministic for a fixed number of threads. No argument may alias another. A tensor of another type or
// shape is an internal error.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// Extents of one convolution, in elements; the results are floored as in PyTorch.
struct Conv2dShape {
    std::int64_t batch, height, width, in_channels, out_channels, kernel_h, kernel_w, stride, pad;

    std::int64_t out_height() const { return (height + 2 * pad - kernel_h) / stride + 1; }
    std::int64_t out_width() const { return (width + 2 * pad - kernel_w) / stride + 1; }
    Shape x() const { return {batch, height, width, in_channels}; }
    Shape y() const { return {batch, out_height(), out_width(), out_channels}; }
    Shape w() const { return {out_channels, in_channels, kernel_h, kernel_w}; }
};

/// Scratch bytes that any function of this family and of conv_bn.h needs for this shape, without `training`
/// only the forward functions; reserve it while building. On CUDA the first call for a shape chooses its
/// algorithms by timing them, which launches kernels and waits, so it comes before the shape's first use in a
/// captured step.
std::size_t conv2d_workspace(const Context& context, const Conv2dShape& shape, DType dtype,
                             bool training = true);

/// y (overwritten) from x, w and bias ([O] f32, may be absent).
void conv2d_forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias);

/// dx (overwritten or accumulated into; type and shape of x) from dy (type and shape of y).
void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w);

/// dw (as weight_layout() has it, else type and shape of w) and, where present, dbias ([O] f32), both
/// overwritten or accumulated into.
void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x);

}  // namespace qstep

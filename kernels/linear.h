// Fully connected layer: y[n,o] = sum_i x[n,i] * w[o,i] + bias[o].
// x, y: f32 or bf16, [N,I] and [N,O] (any shape with these counts per row); w [O,I] and bias [O]: the f32
// masters, rounded to bf16 for products with bf16, or where weight_layout() of weight_copies.h says so the
// device's copies; sums are f32. Deterministic for a fixed number of threads. No aliasing. A tensor of
// another type or shape is an internal error.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// Extents of one product: rows, I and O.
struct LinearShape {
    std::int64_t batch, in_features, out_features;
};

/// Scratch bytes that any function of this family needs.
std::size_t linear_workspace(const Context& context, const LinearShape& shape, DType dtype);

/// y overwritten; bias may be absent.
void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias);
/// dx[n,i] (+)= sum_o dy[n,o] * w[o,i].
void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w);
/// dw[o,i] (+)= sum_n dy[n,o] * x[n,i]; dbias[o] (+)= sum_n dy[n,o]. Both f32; dbias may be absent.
void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x);

}  // namespace qstep

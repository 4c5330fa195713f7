// Convolution by oneDNN, for every shape. Formulas, layouts, modes and determinism are those of
// kernels/conv2d.h. Primitives and weight layouts are chosen once per shape and kept in the context's plan
// cache. Where oneDNN has no bf16 on this processor (below AVX-512), bf16 activations go through f32 copies.
#pragma once

#include "kernels/conv2d.h"

namespace qstep::cpu::onednn {

/// Scratch bytes that any of the three functions below needs.
std::size_t workspace_bytes(Context& context, const Conv2dShape& shape, DType dtype);

void forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x, const Tensor& w,
             const Tensor& bias);
void backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                   const Tensor& dy, const Tensor& w);
void backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw, const Tensor& dbias,
                      GradMode mode, const Tensor& dy, const Tensor& x);

}  // namespace qstep::cpu::onednn

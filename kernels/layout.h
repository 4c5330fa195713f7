// NHWC activations to and from PyTorch's NCHW order, where the order of elements is visible: before a linear
// layer. f32 or bf16; both sides of one type. Deterministic. No aliasing.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// to [N,C,H,W] = from [N,H,W,C].
void nhwc_to_nchw(Context& context, const Tensor& to, const Tensor& from);
/// to [N,H,W,C] (+)= from [N,C,H,W].
void nchw_to_nhwc(Context& context, const Tensor& to, GradMode mode, const Tensor& from);

}  // namespace qstep

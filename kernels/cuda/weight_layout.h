// Convolution weights between PyTorch's order, in which they are stored and trained, and the order that the
// library's fast path reads. One launch each; deterministic. No aliasing.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep::cuda {

/// to [O,KH,KW,J] (f32, or bf16 rounded to nearest even) = from [O,I,KH,KW] (f32), J >= I; channels I..J-1 of
/// `to` become 0, for libraries that want a whole vector of them.
void pack_weights(Context& context, const Tensor& to, const Tensor& from);

/// to [O,I,KH,KW] (f32) = or += from [O,KH,KW,J] (f32), J >= I; channels I..J-1 of `from` are not read.
void unpack_weight_gradient(Context& context, const Tensor& to, GradMode mode, const Tensor& from);

}  // namespace qstep::cuda

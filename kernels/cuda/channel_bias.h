// What a bias adds to a convolution or a linear layer whose library call has no place for it. Deterministic.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep::cuda {

/// y[...,c] += bias[c], rounded once to y's type. y f32 or bf16, [..., C]; bias f32 or bf16, [C].
void add_channel_bias(Context& context, const Tensor& y, const Tensor& bias);

/// Bytes of `scratch` below.
std::size_t channel_sums_bytes(std::int64_t rows, std::int64_t channels);
/// sums[c] (+)= sum over rows of dy[row,c]: float32 partials of at most a few hundred rows, added in double
/// in the order of the rows. dy f32 or bf16, [..., C]; sums f32 [C]. Nothing with mode `skip`.
void channel_sums(Context& context, const Tensor& sums, GradMode mode, const Tensor& dy, void* scratch);

}  // namespace qstep::cuda

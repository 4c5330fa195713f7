// Batch normalisation as those call it who have a workspace of their own (conv_bn.cpp, to time it).
#pragma once

#include "kernels/conv_bn.h"

namespace qstep::cuda {

/// Throws the usage error where a channel has a single value.
void check_enough_rows(std::int64_t rows);

/// batch_norm_statistics() in `workspace`, batch_norm_workspace() bytes on a multiple of 16.
void take_statistics(const Context& context, const BatchNormStats& stats,
                     const BatchNormParameters& parameters, const Tensor& y, void* workspace);

/// batch_norm_apply(), which needs no workspace.
void normalise(const Context& context, const Tensor& out, const Normalisation& from);

/// batch_norm_backward_reduce() of `dx` for the layer that made x, in `workspace` as above.
void reduce_backward(const Context& context, const Tensor& dx, const InputReduction& input, const Tensor& x,
                     void* workspace);

/// batch_norm_backward_apply(), which needs no workspace; dy is overwritten unless `accumulate`.
void backward_apply(const Context& context, const Tensor& dy, bool accumulate, const Tensor& dz,
                    const Tensor& y, const Tensor& dgamma, const Tensor& dbeta, const BatchNormStats& stats,
                    const Tensor& gamma);

}  // namespace qstep::cuda

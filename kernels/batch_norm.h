// Batch normalisation over N, H and W, per channel, with the residual addition and the ReLU that follow it.
//
//   mean[c], var[c]: over the M = N*H*W elements of y[...,c] (var biased); inv_std = 1/sqrt(var + eps)
//   z   = gamma * (y - mean) * inv_std + beta  [+ residual]
//   out = relu ? max(z, 0) : z
// Ioffe and Szegedy, "Batch Normalization", 2015; backward as its section 3, with the mask of the ReLU:
//   dz  = relu ? dout * [out > 0] : dout                       (also the residual's gradient)
//   dbeta = sum dz;  dgamma = sum dz * xhat,  xhat = (y - mean) * inv_std
//   dy  = gamma * inv_std * (dz - dbeta/M - xhat * dgamma/M)
// Activations are f32 or bf16, [..., C]; every per-channel tensor is f32 [C]; sums have float32 partials of a
// bounded length, added in double. Deterministic, whatever the number of threads. A tensor of another type or
// shape is an internal error. Every function but batch_norm_running_statistics borrows the workspace.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// What a training forward saves for backward, and what a normalisation pass reads. All f32 [C].
struct BatchNormStats {
    Tensor mean;
    Tensor inv_std;
};

/// Learned and tracked per-channel values. All f32 [C].
struct BatchNormParameters {
    Tensor gamma, beta;
    Tensor running_mean, running_var;
    float eps = 1e-5f;
    float momentum =
        0.1f;  // running = (1 - momentum) * running + momentum * batch; running_var takes the unbiased one
};

/// Scratch bytes that any function of this family needs for `rows` = N*H*W.
std::size_t batch_norm_workspace(const Context& context, std::int64_t rows, std::int64_t channels);

/// Training: stats from y, and the running values moved towards them. The moments are taken about a value
/// near the mean, so that a mean far larger than the deviation costs no accuracy. Throws a usage error where
/// a channel has a single value.
void batch_norm_statistics(Context& context, const BatchNormStats& stats,
                           const BatchNormParameters& parameters, const Tensor& y);
/// Evaluation: stats from the running values.
void batch_norm_running_statistics(Context& context, const BatchNormStats& stats,
                                   const BatchNormParameters& parameters);

/// out (overwritten) from y; residual may be absent. out may be y or residual itself.
void batch_norm_apply(Context& context, const Tensor& out, const Tensor& y, const Tensor& residual, bool relu,
                      const BatchNormStats& stats, const BatchNormParameters& parameters);

/// First half of backward: dz from dout (dz may be dout itself), and dgamma, dbeta ([C] f32, overwritten).
/// `out` is read for the ReLU's mask and must be absent when there was no ReLU (dz is then not written and
/// must be dout).
void batch_norm_backward_reduce(Context& context, const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                                const Tensor& dout, const Tensor& out, const Tensor& y,
                                const BatchNormStats& stats);

/// Second half: dy (overwritten, or accumulated into) from dz, y and the sums of the first half. With
/// overwrite, dy may be dz.
void batch_norm_backward_apply(Context& context, const Tensor& dy, GradMode mode, const Tensor& dz,
                               const Tensor& y, const Tensor& dgamma, const Tensor& dbeta,
                               const BatchNormStats& stats, const Tensor& gamma);

}  // namespace qstep

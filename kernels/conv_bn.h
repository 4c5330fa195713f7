// A convolution (without bias) and the batch normalisation behind it, where one pass over memory can serve
// both. Formulas and layouts are those of conv2d.h and batch_norm.h; results equal the separate calls up to
// rounding. Deterministic for a fixed number of threads.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"

namespace qstep {

/// conv2d_forward then batch_norm_statistics, the statistics taken while y is still in the cache.
void conv2d_forward_statistics(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                               const Tensor& w, const BatchNormStats& stats,
                               const BatchNormParameters& parameters);

/// What batch_norm_apply() makes an activation of.
struct Normalisation {
    Tensor y, residual;  // residual may be absent
    bool relu;
    BatchNormStats stats;
    BatchNormParameters parameters;
};

/// x (overwritten) = batch_norm_apply() of `from`, then conv2d_forward_statistics of x: written where it is
/// being read anyway.
void conv2d_forward_normalising(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                                const Normalisation& from, const Tensor& w, const BatchNormStats& stats,
                                const BatchNormParameters& parameters);

/// Of batch_norm_backward_reduce() for the layer that made x: its dout and dz are dx, its out is x.
struct InputReduction {
    Tensor y, dgamma, dbeta;
    bool relu;
    BatchNormStats stats;
};

/// batch_norm_backward_apply, then conv2d_backward_data (unless dx_mode is skip; dx may then be absent) and
/// conv2d_backward_weights (dw overwritten), without dy in memory. dz, y: as batch_norm_backward_reduce left
/// them. With `input` then batch_norm_backward_reduce on dx, which must be complete with this.
void conv2d_backward_through_batch_norm(Context& context, const Conv2dShape& shape, const Tensor& dx,
                                        GradMode dx_mode, const Tensor& dw, const Tensor& dz, const Tensor& y,
                                        const Tensor& x, const Tensor& w, const Tensor& dgamma,
                                        const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma,
                                        const InputReduction* input);

}  // namespace qstep

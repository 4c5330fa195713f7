// What both devices ask of the arguments of batch normalisation: each throws an internal error otherwise.
#pragma once

#include "kernels/batch_norm.h"

namespace qstep::detail {

/// f32 [C], C the channels of the statistics.
inline void check_per_channel(const Tensor& tensor, const char* name, const BatchNormStats& stats) {
    check_tensor(tensor, name, DType::f32, stats.mean.shape);
}

/// mean and inv_std: f32 [C].
inline void check_stats(const BatchNormStats& stats) {
    QSTEP_CHECK(stats.mean.shape.rank() == 1, "mean must be [C], it is {}", stats.mean.shape.to_string());
    check_per_channel(stats.mean, "mean", stats);
    check_per_channel(stats.inv_std, "inv_std", stats);
}

/// Of batch_norm_stats(), which also moves the running means and variances: f32 [C].
inline void check_running(const BatchNormStats& stats, const BatchNormParameters& parameters) {
    check_stats(stats);
    check_per_channel(parameters.running_mean, "running_mean", stats);
    check_per_channel(parameters.running_var, "running_var", stats);
}

/// Returns N*H*W of activations y: [..., C].
inline std::int64_t checked_rows(const Tensor& y, const BatchNormStats& stats) {
    check_stats(stats);
    const std::int64_t channels = stats.mean.count();
    QSTEP_CHECK(y.shape.rank() >= 1 && y.shape[y.shape.rank() - 1] == channels && y.count() > 0,
                "batch normalisation of {} channels got {}", channels, y.shape.to_string());
    return y.count() / channels;
}

/// Of batch_norm_apply(); returns the rows.
inline std::int64_t check_apply(const Tensor& out, const Tensor& y, const Tensor& residual,
                                const BatchNormStats& stats, const BatchNormParameters& parameters) {
    const std::int64_t rows = checked_rows(y, stats);
    check_per_channel(parameters.gamma, "gamma", stats);
    check_per_channel(parameters.beta, "beta", stats);
    check_tensor(out, "out", y.dtype, y.shape);
    if (residual) check_tensor(residual, "residual", y.dtype, y.shape);
    return rows;
}

/// Of batch_norm_backward_reduce(); returns the rows.
inline std::int64_t check_backward_reduce(const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                                          const Tensor& dout, const Tensor& out, const Tensor& y,
                                          const BatchNormStats& stats) {
    const std::int64_t rows = checked_rows(y, stats);
    check_per_channel(dgamma, "dgamma", stats);
    check_per_channel(dbeta, "dbeta", stats);
    check_tensor(dz, "dz", y.dtype, y.shape);
    check_tensor(dout, "dout", y.dtype, y.shape);
    if (out) check_tensor(out, "out", y.dtype, y.shape);
    QSTEP_CHECK(out || dz.data == dout.data, "without a ReLU dz is dout and must be the same tensor");
    return rows;
}

/// Of batch_norm_backward_apply(); returns the rows.
inline std::int64_t check_backward_apply(const Tensor& dy, const Tensor& dz, const Tensor& y,
                                         const Tensor& dgamma, const Tensor& dbeta,
                                         const BatchNormStats& stats, const Tensor& gamma) {
    const std::int64_t rows = checked_rows(y, stats);
    check_per_channel(gamma, "gamma", stats);
    check_per_channel(dgamma, "dgamma", stats);
    check_per_channel(dbeta, "dbeta", stats);
    check_tensor(dy, "dy", y.dtype, y.shape);
    check_tensor(dz, "dz", y.dtype, y.shape);
    return rows;
}

}  // namespace qstep::detail

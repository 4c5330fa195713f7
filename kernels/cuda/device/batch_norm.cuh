// What the kernels of batch normalisation and those that do its work on the way share (formulas in
// kernels/batch_norm.h).
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/cuda/device/columns.cuh"

namespace qstep::cuda {

/// Two sums of every block and channel in device memory: blocks are divided into `tiles` of channels.
struct Partials {
    double* first;
    double* second;

    /// Of this thread's channel.
    __device__ std::int64_t at(const SharedSums& sums, int tile, int blocks, int block) const {
        return (static_cast<std::int64_t>(tile) * blocks + block) * sums.outputs + sums.output;
    }
};

/// What batch_norm_statistics() writes, and by which rule. Each array has an element a channel.
struct StatisticsTargets {
    float *mean, *inv_std, *running_mean, *running_var;
    double eps, momentum;

    StatisticsTargets(const BatchNormStats& stats, const BatchNormParameters& parameters)
        : mean(stats.mean.as<float>()),
          inv_std(stats.inv_std.as<float>()),
          running_mean(parameters.running_mean.as<float>()),
          running_var(parameters.running_var.as<float>()),
          eps(static_cast<double>(parameters.eps)),
          momentum(static_cast<double>(parameters.momentum)) {}
};

/// Sums of (value - reference) and of their squares.
struct Moments {
    double reference, sum, square_sum;
};

/// Adds up the means (first) and squared deviations (second) of a tile's blocks, which have rows_of(block)
/// rows, about the mean of its first block. All threads of the block call it; valid where sums.segment == 0.
/// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
/// 1979.
template <typename RowsOf>
__device__ Moments combine_moments(const SharedSums& sums, const Partials& partials, int tile, int blocks,
                                   const RowsOf& rows_of) {
    const double reference = partials.first[partials.at(sums, tile, blocks, 0)];
    double total[2] = {0, 0};
#pragma unroll 8
    for (int b = sums.first_block(blocks); b < sums.end_block(blocks); ++b) {
        const std::int64_t at = partials.at(sums, tile, blocks, b);
        const double rows = static_cast<double>(rows_of(b));
        const double offset = partials.first[at] - reference;
        total[0] += rows * offset;
        total[1] += partials.second[at] + rows * offset * offset;
    }
    sums.fold(total);
    return {reference, total[0], total[1]};
}

__device__ inline void write_statistics(const StatisticsTargets& to, std::int64_t channel, double rows,
                                        const Moments& moments) {
    const double offset = moments.sum / rows;
    double deviations = moments.square_sum - offset * moments.sum;
    // Rounding can leave a constant channel a hair below zero; NaN must pass.
    if (deviations < 0) deviations = 0;
    const double mean = moments.reference + offset;
    to.mean[channel] = static_cast<float>(mean);
    to.inv_std[channel] = static_cast<float>(1.0 / sqrt(deviations / rows + to.eps));
    const double old_mean = static_cast<double>(to.running_mean[channel]);
    const double old_var = static_cast<double>(to.running_var[channel]);
    to.running_mean[channel] = static_cast<float>((1 - to.momentum) * old_mean + to.momentum * mean);
    to.running_var[channel] =
        static_cast<float>((1 - to.momentum) * old_var + to.momentum * (deviations / (rows - 1)));
}

/// Both sums of this thread's channel over all blocks of a tile. All threads of the block call it; valid
/// where sums.segment == 0.
__device__ inline void add_blocks(double (&total)[2], const SharedSums& sums, const Partials& partials,
                                  int tile, int blocks) {
    total[0] = total[1] = 0;
#pragma unroll 8
    for (int b = sums.first_block(blocks); b < sums.end_block(blocks); ++b) {
        const std::int64_t at = partials.at(sums, tile, blocks, b);
        total[0] += partials.first[at];
        total[1] += partials.second[at];
    }
    sums.fold(total);
}

/// What batch_norm_backward_reduce() leaves, a channel.
struct ReductionTargets {
    const float* inv_std;
    float *dgamma, *dbeta;

    /// total: sums of dz and of dz * (y - mean).
    __device__ void write(std::int64_t channel, const double (&total)[2]) const {
        dbeta[channel] = static_cast<float>(total[0]);
        dgamma[channel] = static_cast<float>(total[1] * static_cast<double>(inv_std[channel]));
    }
};

/// What batch_norm_apply() reads.
template <typename T>
struct BatchNormForward {
    const T *y, *residual;
    const float *mean, *inv_std, *gamma, *beta;
};

template <typename T>
BatchNormForward<T> forward_inputs(const Tensor& y, const Tensor& residual, const BatchNormStats& stats,
                                   const BatchNormParameters& parameters) {
    return {y.as<T>(),
            residual ? residual.as<T>() : nullptr,
            stats.mean.as<float>(),
            stats.inv_std.as<float>(),
            parameters.gamma.as<float>(),
            parameters.beta.as<float>()};
}

/// z = scale * y + shift: scale = gamma * inv_std, shift = beta - mean * scale.
template <typename T, int kVector>
__device__ void forward_coefficients(float (&scale)[kVector], float (&shift)[kVector],
                                     const BatchNormForward<T>& data, std::int64_t channel) {
    float mean[kVector], inv_std[kVector];
    load_floats(scale, data.gamma + channel);
    load_floats(inv_std, data.inv_std + channel);
    load_floats(shift, data.beta + channel);
    load_floats(mean, data.mean + channel);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
        scale[v] *= inv_std[v];
        // From the rounded scale, so that its rounding cancels at y = mean.
        shift[v] = fmaf(-mean[v], scale[v], shift[v]);
    }
}

/// The ReLU, written so that NaN stays.
__device__ inline float rectified(float z) {
    return 0.0f > z ? 0.0f : z;
}

/// What the second half of backward reads.
template <typename T>
struct BatchNormBackward {
    const T *dz, *y;
    const float *mean, *inv_std, *gamma, *dgamma, *dbeta;
    float share;  // 1 / rows
};

template <typename T>
BatchNormBackward<T> backward_inputs(std::int64_t rows, const Tensor& dz, const Tensor& y,
                                     const Tensor& dgamma, const Tensor& dbeta, const BatchNormStats& stats,
                                     const Tensor& gamma) {
    return {dz.as<T>(),
            y.as<T>(),
            stats.mean.as<float>(),
            stats.inv_std.as<float>(),
            gamma.as<float>(),
            dgamma.as<float>(),
            dbeta.as<float>(),
            static_cast<float>(1.0 / static_cast<double>(rows))};
}

/// dy = a * dz + b * y + c, with m rows:
///   a = gamma * inv_std;  b = -a * inv_std * dgamma / m;  c = -a * dbeta / m - mean * b
template <typename T, int kVector>
__device__ void backward_coefficients(float (&a)[kVector], float (&b)[kVector], float (&c)[kVector],
                                      const BatchNormBackward<T>& data, std::int64_t channel) {
    float mean[kVector], inv_std[kVector];
    load_floats(a, data.gamma + channel);
    load_floats(inv_std, data.inv_std + channel);
    load_floats(b, data.dgamma + channel);
    load_floats(c, data.dbeta + channel);
    load_floats(mean, data.mean + channel);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
        a[v] *= inv_std[v];
        b[v] *= -a[v] * inv_std[v] * data.share;
        // From the rounded b, so that its rounding cancels at y = mean.
        c[v] = fmaf(-mean[v], b[v], -a[v] * c[v] * data.share);
    }
}

}  // namespace qstep::cuda

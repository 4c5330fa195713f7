#include "kernels/cpu/batch_norm_finish.h"

#include <cmath>

#include "kernels/cpu/scratch.h"

namespace qstep::cpu {

namespace {

struct Moments {
    double count = 0, mean = 0, deviations = 0;  // deviations: sum of squared distances from the mean
};

Moments combine(const MomentPartials& partials, std::int64_t channel) {
    Moments total;
    for (std::int64_t b = 0; b < partials.blocks; ++b) {
        const auto count = static_cast<double>(partials.count[b]);
        if (count == 0) continue;
        const std::int64_t at = b * partials.channels + channel;
        const double offset = partials.sum[at] / count;
        const double mean = static_cast<double>(partials.shift[at]) + offset;
        const double deviations = partials.square_sum[at] - offset * partials.sum[at];
        const double all = total.count + count, delta = mean - total.mean;
        total.mean += delta * (count / all);
        total.deviations += deviations + delta * delta * (total.count * count / all);
        total.count = all;
    }
    // Rounding can leave a constant channel a hair below zero; NaN must pass.
    if (total.deviations < 0) total.deviations = 0;
    return total;
}

}  // namespace

std::size_t MomentPartials::bytes(std::int64_t blocks, std::int64_t channels) {
    const auto cells = static_cast<std::size_t>(blocks * channels);
    return scratch_bytes(static_cast<std::size_t>(blocks) * sizeof(std::int64_t)) +
           scratch_bytes(cells * sizeof(float)) + 2 * scratch_bytes(cells * sizeof(double));
}

MomentPartials MomentPartials::in(void* memory, std::int64_t blocks, std::int64_t channels) {
    Scratch scratch(memory);
    MomentPartials partials;
    partials.blocks = blocks;
    partials.channels = channels;
    partials.count = scratch.take<std::int64_t>(blocks);
    partials.shift = scratch.take<float>(blocks * channels);
    partials.sum = scratch.take<double>(blocks * channels);
    partials.square_sum = scratch.take<double>(blocks * channels);
    return partials;
}

void finish_statistics(const BatchNormStats& stats, const BatchNormParameters& parameters,
                       const MomentPartials& partials) {
    const Shape per_channel{partials.channels};
    check_tensor(stats.mean, "mean", DType::f32, per_channel);
    check_tensor(stats.inv_std, "inv_std", DType::f32, per_channel);
    check_tensor(parameters.running_mean, "running_mean", DType::f32, per_channel);
    check_tensor(parameters.running_var, "running_var", DType::f32, per_channel);
    auto* mean = stats.mean.as<float>();
    auto* inv_std = stats.inv_std.as<float>();
    auto* running_mean = parameters.running_mean.as<float>();
    auto* running_var = parameters.running_var.as<float>();
    const double momentum = parameters.momentum;
    for (std::int64_t c = 0; c < partials.channels; ++c) {
        const Moments moments = combine(partials, c);
        if (moments.count < 2)
            fail_usage(
                "batch normalisation needs at least two values per channel to train on; take a larger batch");
        const double variance = moments.deviations / moments.count;
        const double unbiased = moments.deviations / (moments.count - 1);
        mean[c] = static_cast<float>(moments.mean);
        inv_std[c] = static_cast<float>(1.0 / std::sqrt(variance + static_cast<double>(parameters.eps)));
        running_mean[c] = static_cast<float>((1 - momentum) * running_mean[c] + momentum * moments.mean);
        running_var[c] = static_cast<float>((1 - momentum) * running_var[c] + momentum * unbiased);
    }
}

void apply_coefficients(float* scale, float* shift, const BatchNormStats& stats,
                        const BatchNormParameters& parameters) {
    const auto* mean = stats.mean.as<float>();
    const auto* inv_std = stats.inv_std.as<float>();
    const auto* gamma = parameters.gamma.as<float>();
    const auto* beta = parameters.beta.as<float>();
    const std::int64_t channels = stats.mean.count();
    for (std::int64_t c = 0; c < channels; ++c) {
        scale[c] = gamma[c] * inv_std[c];
        // From the rounded scale, so that its rounding cancels at y = mean.
        shift[c] = static_cast<float>(static_cast<double>(beta[c]) - static_cast<double>(mean[c]) * scale[c]);
    }
}

void backward_coefficients(float* a, float* b, float* c, std::int64_t rows, const Tensor& dgamma,
                           const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma) {
    const auto* mean = stats.mean.as<float>();
    const auto* inv_std = stats.inv_std.as<float>();
    const auto* weight = gamma.as<float>();
    const auto* gamma_sum = dgamma.as<float>();
    const auto* beta_sum = dbeta.as<float>();
    const std::int64_t channels = stats.mean.count();
    const double share = 1.0 / static_cast<double>(rows);
    for (std::int64_t k = 0; k < channels; ++k) {
        const double slope = static_cast<double>(weight[k]) * inv_std[k];
        a[k] = static_cast<float>(slope);
        b[k] = static_cast<float>(-slope * inv_std[k] * gamma_sum[k] * share);
        c[k] = static_cast<float>(-slope * beta_sum[k] * share - static_cast<double>(mean[k]) * b[k]);
    }
}

}  // namespace qstep::cpu

// Batch normalisation by definition, in double precision.
#pragma once

#include "tests/kernels/compare.h"

namespace qstep::test {

struct ReferenceBatchNorm {
    std::size_t channels = 0;
    double eps = 0;
    Doubles gamma, beta;
    Doubles mean, variance;  // by statistics()

    void statistics(const Doubles& y) {
        const auto rows = static_cast<double>(y.size() / channels);
        mean.assign(channels, 0.0);
        variance.assign(channels, 0.0);
        for (std::size_t i = 0; i < y.size(); ++i) mean[i % channels] += y[i] / rows;
        for (std::size_t i = 0; i < y.size(); ++i) {
            const double deviation = y[i] - mean[i % channels];
            variance[i % channels] += deviation * deviation / rows;
        }
    }
    double inv_std(std::size_t c) const { return 1 / std::sqrt(variance[c] + eps); }
    double normalised(const Doubles& y, std::size_t i) const {
        return (y[i] - mean[i % channels]) * inv_std(i % channels);
    }
    /// residual may be empty.
    Doubles apply(const Doubles& y, const Doubles& residual, bool relu) const {
        Doubles out(y.size());
        for (std::size_t i = 0; i < y.size(); ++i) {
            out[i] = gamma[i % channels] * normalised(y, i) + beta[i % channels];
            if (!residual.empty()) out[i] += residual[i];
            if (relu && out[i] < 0) out[i] = 0;
        }
        return out;
    }

    struct Gradients {
        Doubles gamma, beta, y;
    };
    /// By the formulas of batch_norm.h, dz given.
    Gradients backward(const Doubles& dz, const Doubles& y) const {
        Gradients d{Doubles(channels, 0.0), Doubles(channels, 0.0), Doubles(y.size())};
        const auto rows = static_cast<double>(y.size() / channels);
        for (std::size_t i = 0; i < y.size(); ++i) {
            d.beta[i % channels] += dz[i];
            d.gamma[i % channels] += dz[i] * normalised(y, i);
        }
        for (std::size_t i = 0; i < y.size(); ++i) {
            const std::size_t c = i % channels;
            d.y[i] =
                gamma[c] * inv_std(c) * (dz[i] - d.beta[c] / rows - normalised(y, i) * d.gamma[c] / rows);
        }
        return d;
    }
};

}  // namespace qstep::test

// `standard`: k evenly spaced levels between the bucket's smallest and largest element (QSGD's uniform levels
// placed as in "Model compression via distillation and quantization", Polino, Pascanu, Alistarh, 2018,
// section 2.1, with stochastic rounding).
//
//   u = (max - min) / (k - 1);  code = floor((x - min) / u + U);  value = min + u * code
//
// min and max are hit exactly, values never leave [min, max], a constant bucket becomes its minimum.
// Arithmetic is in double: neither the range of the largest floats nor the steps of the smallest leave it.
#pragma once

#include "quant/group.h"

namespace qstep::quant {

struct Standard {
    using Measure = Extent;

    struct Fit {
        float low, high;
        double step;     // u
        double inverse;  // 1/u, or 0 for a constant bucket
        double top;      // k - 1
        bool finite;

        QSTEP_HOST_DEVICE float decode(std::int32_t code) const {
            return value_at(code, low, high, step, top);
        }
    };

    /// The compare is one of doubles because loops with an integer compare here are not vectorised.
    static QSTEP_HOST_DEVICE float value_at(double code, double low, float high, double step, double top) {
        const auto inner = static_cast<float>(low + step * code);
        return code == top ? high : inner;
    }

    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return merge(a, b);
    }

    template <typename Group>
    static QSTEP_HOST_DEVICE Measure measure(Group& group, const float* x, std::int64_t n) {
        return group.extent(n, [=](std::int64_t i) { return x[i]; });
    }

    static QSTEP_HOST_DEVICE Fit fit(const Extent& extent, std::int64_t levels) {
        const auto top = static_cast<double>(levels - 1);
        const double range = static_cast<double>(extent.high) - extent.low;
        // A shade above 1/u, so that rounding cannot put max below its own level; far below a draw's grid of
        // 2^-24 for any number of levels that fits in 16 bits.
        constexpr double kShade = 1.0 + 0x1p-50;
        const double inverse = range > 0 ? top / range * kShade : 0.0;
        return {extent.low, extent.high, range / top, inverse, top, extent.finite};
    }
    template <typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit_out, const Measure& measure, const float*,
                                      std::int64_t, const FitContext& context) {
        if (group.rank() == 0) fit_out = fit(measure, context.levels);
    }

    /// out may be x. Returns the sum of (x-l)(r-x) = u^2 f(1-f), f the fractional part of (x-min)/u.
    template <typename Group>
    static QSTEP_HOST_DEVICE double round(Group& group, const Fit& fit, float* out, const float* x,
                                          std::int64_t n, const Draws& draws) {
        if (!fit.finite) return fill_not_a_number(group, out, n);
        const double low = fit.low, step = fit.step, inverse = fit.inverse, top = fit.top;
        const float high = fit.high;
        const double spread = group.sum(n, draws, [=](std::int64_t i, std::uint32_t word) {
            const double position = (x[i] - low) * inverse;
            const double fraction = position - static_cast<std::int32_t>(position);
            const auto code = static_cast<std::int32_t>(position + uniform_from_bits(word));
            out[i] = value_at(code, low, high, step, top);
            return fraction * (1.0 - fraction);
        });
        return spread * (step * step);
    }
};

}  // namespace qstep::quant

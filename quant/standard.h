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

    /// Rounds elements of a finite bucket one by one.
    class Rounder {
      public:
        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : low_(fit.low), step_(fit.step), inverse_(fit.inverse), top_(fit.top), high_(fit.high) {}

        /// Sets `value` to what x becomes; returns f(1-f), f the fractional part of (x-min)/u.
        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, float& value) const {
            const double position = (x - low_) * inverse_;
            const double fraction = position - whole_part(position);
            const double code = whole_part(position + wide_uniform(word));
            value = value_at(code, low_, high_, step_, top_);
            return fraction * (1.0 - fraction);
        }
        /// From the sum of the results to that of (x-l)(r-x).
        QSTEP_HOST_DEVICE double scale() const { return step_ * step_; }

      private:
        double low_, step_, inverse_, top_;
        float high_;
    };
    /// Whether the bucket becomes +0 throughout without being rounded.
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }
    /// An element that adds nothing to the spread.
    static QSTEP_HOST_DEVICE float neutral(const Fit& fit) { return fit.low; }

    /// A Measure is made of the extent of the projected elements, and of their squares' sum if kSquares.
    static constexpr bool kSquares = false;
    static QSTEP_HOST_DEVICE float projected(float x) { return x; }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double) { return extent; }

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

    /// out may be x. Returns the sum of (x-l)(r-x).
    template <typename Group, typename Out>
    static QSTEP_HOST_DEVICE double round(Group& group, const Fit& fit, Out out, const float* x,
                                          std::int64_t n, const Draws& draws) {
        if (!fit.finite) return fill_not_a_number(group, out, n);
        const Rounder rounder(fit);
        const double spread = group.sum(n, draws, [=](std::int64_t i, std::uint32_t word) {
            float value;
            const double share = rounder(x[i], word, value);
            out[i] = value;
            return share;
        });
        return spread * rounder.scale();
    }
};

}  // namespace qstep::quant

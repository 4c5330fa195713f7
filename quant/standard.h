// `standard`: k evenly spaced levels between the bucket's smallest and largest element (QSGD's uniform levels
// placed as in "Model compression via distillation and quantization", Polino, Pascanu, Alistarh, 2018,
// section 2.1, with stochastic rounding).
//
//   u = (max - min) / (k - 1);  code = floor((x - min) / u + U);  value = min + u * code
//
// min and max are hit exactly, values never leave [min, max], a constant bucket becomes its minimum.
// Arithmetic is in double: neither the range of the largest floats nor the steps of the smallest leave it.
// (x - min) / u is rounded to the grid of U, 2^-24, so the expected value is off by at most 2^-25 u.
#pragma once

#include "quant/algorithm.h"

namespace qstep::quant {

struct Standard : Formula<Standard>, RangeMeasured {
    struct Fit {
        float low, high;
        double step;     // u
        double inverse;  // 1/u, or 0 for a constant bucket
        double top;      // k - 1
        bool finite;
    };

    static QSTEP_HOST_DEVICE double range_of(float low, float high) {
        return static_cast<double>(high) - low;
    }
    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& extent, std::int64_t, const Parameters& parameters) {
        const auto top = static_cast<double>(parameters.levels - 1);
        const double range = range_of(extent.low, extent.high);
        const double inverse = range > 0 ? top / range : 0.0;
        return {extent.low, extent.high, range / top, inverse, top, extent.finite};
    }

    class Rounder {
      public:
        using Code = double;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : low_(fit.low), step_(fit.step), inverse_(fit.inverse) {}

        /// Returns f(1-f), f the fractional part of (x-min)/u.
        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            // From 2^28 on a double's last bit is 2^-24: the draw is added to the last 24 bits, and its carry
            // decides. Codes have 16 bits, so nothing reaches the exponent.
            constexpr double kShift = 0x1p28;
            constexpr std::uint64_t kFraction = (1u << 24) - 1;
            const double shifted = (x - low_) * inverse_ + kShift;
            const auto bits = std::bit_cast<std::uint64_t>(shifted);
            const double fraction = shifted - std::bit_cast<double>(bits & ~kFraction);
            code = std::bit_cast<double>((bits + (word >> 8)) & ~kFraction) - kShift;
            return fraction * (1.0 - fraction);
        }
        QSTEP_HOST_DEVICE double scale() const { return step_ * step_; }

      private:
        double low_, step_, inverse_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }
    static QSTEP_HOST_DEVICE float neutral(const Fit& fit) { return fit.low; }

    class Decoder {
      public:
        /// A whole number.
        using Code = double;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit)
            : low_(fit.low), step_(fit.step), top_(fit.top), high_(fit.high) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters& parameters)
            : low_(std::bit_cast<float>(words[0])),
              top_(static_cast<double>(parameters.levels - 1)),
              high_(std::bit_cast<float>(words[1])) {
            step_ = range_of(std::bit_cast<float>(words[0]), high_) / top_;
        }

        /// The compare is one of doubles because loops with an integer compare here are not vectorised.
        QSTEP_HOST_DEVICE float value(Code code) const {
            const auto inner = static_cast<float>(low_ + step_ * code);
            return code == top_ ? high_ : inner;
        }
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) {
            return static_cast<std::uint32_t>(static_cast<std::int32_t>(code));
        }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) { return static_cast<std::int32_t>(index); }

      private:
        double low_, step_, top_;
        float high_;
    };

    /// min, max.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 2; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        return std::bit_cast<std::uint32_t>(i == 0 ? fit.low : fit.high);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

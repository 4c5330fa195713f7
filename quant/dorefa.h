// `dorefa`: k evenly spaced levels between -m and m, m = max |x| (Zhou et al., "DoReFa-Net: training low
// bitwidth convolutional neural networks with low bitwidth gradients", 2016, equation 12):
//
//   value = 2m (Q(x / 2m + 1/2 + noise) - 1/2),  Q to the nearest of k levels in [0, 1],  noise uniform over
//   a level's width,
//
// which is code = floor((x + m) (k - 1) / 2m + U) and value = m / (k - 1) (2 code - (k - 1)). The paper takes
// m of each sample's gradient; here it is the bucket's, as everything else is. For an even k, such as the
// paper's 2^b, there is no level 0.
#pragma once

#include <cmath>

#include "quant/algorithm.h"

namespace qstep::quant {

struct Dorefa : Formula<Dorefa> {
    using Measure = Extent;

    struct Fit {
        float largest;   // m
        double half;     // half a step, m / (k - 1)
        double inverse;  // 1 / step, or 0 for an all-zero bucket
        double top;      // k - 1
        bool finite;
    };

    static constexpr bool kSums = false;
    static QSTEP_HOST_DEVICE float projected(float x) { return std::fabs(x); }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double) { return extent; }
    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return merge(a, b);
    }
    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& extent, std::int64_t, const Parameters& parameters) {
        const auto top = static_cast<double>(parameters.levels - 1);
        const double half = extent.high / top;
        return {extent.high, half, extent.high > 0 ? 0.5 / half * kShade : 0.0, top, extent.finite};
    }

    class Rounder {
      public:
        using Code = double;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : largest_(fit.largest), half_(fit.half), inverse_(fit.inverse) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            const double position = (x + largest_) * inverse_;
            const double fraction = position - whole_part(position);
            code = whole_part(position + wide_uniform(word));
            return fraction * (1.0 - fraction);
        }
        QSTEP_HOST_DEVICE double scale() const { return 4.0 * half_ * half_; }

      private:
        double largest_, half_, inverse_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit& fit) { return fit.largest == 0.0f; }
    static QSTEP_HOST_DEVICE float neutral(const Fit& fit) { return -fit.largest; }

    class Decoder {
      public:
        /// A whole number.
        using Code = double;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : half_(fit.half), top_(fit.top) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters& parameters)
            : top_(static_cast<double>(parameters.levels - 1)) {
            half_ = std::bit_cast<float>(words[0]) / top_;
        }

        /// + 0 makes of -0 the only zero.
        QSTEP_HOST_DEVICE float value(Code code) const {
            return static_cast<float>(half_ * (2.0 * code - top_)) + 0.0f;
        }
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) {
            return static_cast<std::uint32_t>(static_cast<std::int32_t>(code));
        }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) { return static_cast<std::int32_t>(index); }

      private:
        double half_, top_;
    };

    /// m.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 1; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t) {
        return std::bit_cast<std::uint32_t>(fit.largest);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

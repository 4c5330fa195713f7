// `exponential`: a sign and one of k/2 magnitudes, powers of two of the bucket's norm (QSGD, Alistarh et al.,
// 2017, with exponential levels).
//
//   N = ||bucket||_2,  a = |x| / N,  M = ceil(max log2 a)
//   value = sign(x) * N * 2^e,  e in {M, M-1, ..., M-k/2+1}, stochastic between neighbouring powers
//
// Below the smallest magnitude a value becomes that magnitude, which is biased, and its variance counts 0.
// A zero has no sign, so stochastic rounding gives it a random one (unbiased) and nearest rounding +. There
// is no level 0: at k = 16 there are exactly 8 magnitudes; only an all-zero bucket comes out as zeros.
//
// Between 2^e and 2^(e+1) the probability of rounding up, a/2^e - 1, is the mantissa of a. So rounding is
// adding the draw to the mantissa's bits and cutting them off: the carry moves the exponent. No logarithm
// anywhere.
#pragma once

#include <cmath>

#include "quant/group.h"

namespace qstep::quant {

struct Exponential {
    struct Measure {
        double squares = 0;
        float largest = 0;
        bool finite = true;
    };

    struct Fit {
        double norm;
        double inverse;
        std::uint64_t smallest;  // bits of 2^(M-k/2+1)
        bool finite;
    };

    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return {a.squares + b.squares, a.largest > b.largest ? a.largest : b.largest, a.finite && b.finite};
    }

    /// As in quant/standard.h.
    static constexpr bool kSquares = true;
    static QSTEP_HOST_DEVICE float projected(float x) { return std::fabs(x); }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double squares) {
        return {squares, extent.high, extent.finite};
    }
    template <typename Group>
    static QSTEP_HOST_DEVICE Measure measure(Group& group, const float* x, std::int64_t n) {
        const Extent extent = group.extent(n, [=](std::int64_t i) { return projected(x[i]); });
        return measure_of(extent, group.sum(n, [=](std::int64_t i) {
            const double wide = x[i];
            return wide * wide;
        }));
    }

    static constexpr int kMantissaBits = 52;
    static constexpr std::uint64_t kMantissa = (std::uint64_t{1} << kMantissaBits) - 1;

    static QSTEP_HOST_DEVICE Fit fit(const Measure& measure, std::int64_t levels) {
        if (!(measure.largest > 0) || !measure.finite) return {0.0, 0.0, 0, measure.finite};
        const double norm = std::sqrt(measure.squares);
        // A shade above 1/N, so that rounding cannot put an element below the power of two that it is; far
        // below a draw's grid of 2^-24.
        constexpr double kShade = 1.0 + 0x1p-50;
        const auto bits = std::bit_cast<std::uint64_t>(measure.largest / norm);
        const std::uint64_t top = (bits + kMantissa) >> kMantissaBits;
        const std::uint64_t steps_down = static_cast<std::uint64_t>(levels / 2 - 1);
        return {norm, 1.0 / norm * kShade, (top - steps_down) << kMantissaBits, true};
    }
    template <typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit_out, const Measure& measure, const float*,
                                      std::int64_t, const FitContext& context) {
        if (group.rank() == 0) fit_out = fit(measure, context.levels);
    }

    /// As in quant/standard.h.
    class Rounder {
      public:
        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : norm_(fit.norm), inverse_(fit.inverse), smallest_(fit.smallest) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, float& value) const {
            constexpr float kLargest = std::numeric_limits<float>::max();
            const auto value_bits = std::bit_cast<std::uint32_t>(x);
            const std::uint32_t sign = (x == 0.0f ? word << 31 : value_bits) & 0x80000000u;
            const double a = std::fabs(x) * inverse_;
            const auto bits = std::bit_cast<std::uint64_t>(a);
            const std::uint64_t below = bits & ~kMantissa;
            const std::uint64_t drawn =
                (bits + (std::uint64_t{word >> 8} << (kMantissaBits - 24))) & ~kMantissa;
            const std::uint64_t chosen = below < smallest_ ? smallest_ : drawn;
            const auto wide = static_cast<float>(std::bit_cast<double>(chosen) * norm_);
            // 2^M N may lie above the largest float although the bucket's elements do not.
            const float magnitude = wide > kLargest ? kLargest : wide;
            value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
            const double left = std::bit_cast<double>(below);
            const double product = (a - left) * (2.0 * left - a);
            return below < smallest_ ? 0.0 : product;
        }
        QSTEP_HOST_DEVICE double scale() const { return norm_ * norm_; }

      private:
        double norm_, inverse_;
        std::uint64_t smallest_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit& fit) { return fit.norm == 0.0; }
    static QSTEP_HOST_DEVICE float neutral(const Fit&) { return 0.0f; }

    /// out may be x.
    template <typename Group, typename Out>
    static QSTEP_HOST_DEVICE double round(Group& group, const Fit& fit, Out out, const float* x,
                                          std::int64_t n, const Draws& draws) {
        if (!fit.finite) return fill_not_a_number(group, out, n);
        if (vanishes(fit)) {
            group.for_each(n, [=](std::int64_t i) { out[i] = 0.0f; });
            return 0.0;
        }
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

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

#include "quant/algorithm.h"

namespace qstep::quant {

struct Exponential : Formula<Exponential>, NormMeasured {
    struct Fit {
        double norm;
        double inverse;
        std::uint64_t smallest;  // bits of 2^(M-k/2+1)
        bool finite;
    };

    static constexpr int kMantissaBits = 52;
    static constexpr std::uint64_t kMantissa = (std::uint64_t{1} << kMantissaBits) - 1;

    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& measure, std::int64_t, const Parameters& parameters) {
        if (!(measure.largest > 0) || !measure.finite) return {0.0, 0.0, 0, measure.finite};
        const double norm = std::sqrt(measure.squares);
        const auto bits = std::bit_cast<std::uint64_t>(measure.largest / norm);
        const std::uint64_t top = (bits + kMantissa) >> kMantissaBits;
        const std::uint64_t steps_down = static_cast<std::uint64_t>(parameters.levels / 2 - 1);
        return {norm, 1.0 / norm * kShade, (top - steps_down) << kMantissaBits, true};
    }

    struct SignedPower {
        std::uint64_t power;  // bits of 2^e
        std::uint32_t sign;   // 0 or 0x80000000
    };

    class Rounder {
      public:
        using Code = SignedPower;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : norm_(fit.norm), inverse_(fit.inverse), smallest_(fit.smallest) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            const auto value_bits = std::bit_cast<std::uint32_t>(x);
            code.sign = (x == 0.0f ? word << 31 : value_bits) & 0x80000000u;
            const double a = std::fabs(x) * inverse_;
            const auto bits = std::bit_cast<std::uint64_t>(a);
            const std::uint64_t below = bits & ~kMantissa;
            const std::uint64_t drawn =
                (bits + (std::uint64_t{word >> 8} << (kMantissaBits - 24))) & ~kMantissa;
            code.power = below < smallest_ ? smallest_ : drawn;
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

    class Decoder {
      public:
        using Code = SignedPower;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : norm_(fit.norm), smallest_(fit.smallest) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters&)
            : norm_(std::bit_cast<double>(std::uint64_t{words[2]} << 32 | words[1])),
              smallest_(std::uint64_t{words[0]} << kMantissaBits) {}

        QSTEP_HOST_DEVICE float value(const Code& code) const {
            constexpr float kLargest = std::numeric_limits<float>::max();
            const auto wide = static_cast<float>(std::bit_cast<double>(code.power) * norm_);
            // 2^M N may lie above the largest float although the bucket's elements do not.
            const float magnitude = wide > kLargest ? kLargest : wide;
            return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | code.sign);
        }
        /// The sign is the lowest bit.
        QSTEP_HOST_DEVICE std::uint32_t index(const Code& code) const {
            const auto steps = static_cast<std::uint32_t>((code.power - smallest_) >> kMantissaBits);
            return steps << 1 | code.sign >> 31;
        }
        QSTEP_HOST_DEVICE Code code(std::uint32_t index) const {
            return {smallest_ + (std::uint64_t{index >> 1} << kMantissaBits), index << 31};
        }

      private:
        double norm_;
        std::uint64_t smallest_;
    };

    /// The exponent of the smallest magnitude, M - k/2 + 1, plus 1023; N as a double, its lower half first.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 3; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        const auto norm = std::bit_cast<std::uint64_t>(fit.norm);
        return static_cast<std::uint32_t>(i == 0   ? fit.smallest >> kMantissaBits
                                          : i == 1 ? norm
                                                   : norm >> 32);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

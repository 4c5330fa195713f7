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
// adding a draw of 23 bits to the mantissa of a float and cutting it off: the carry moves the exponent. No
// logarithm anywhere. a is scaled by a power of two 2^-q, so that neither it nor N 2^q needs more than a
// float has. It is off by at most 2^-22 of itself, and so is the expected value.
#pragma once

#include <cmath>

#include "quant/algorithm.h"

namespace qstep::quant {

struct Exponential : Formula<Exponential>, NormMeasured {
    static constexpr int kMantissaBits = 23, kDoubleMantissaBits = 52;
    static constexpr std::uint32_t kMantissa = (std::uint32_t{1} << kMantissaBits) - 1;

    /// The magnitudes, as powers of two times one float.
    struct Magnitudes {
        float unit;                   // N 2^q
        std::uint32_t smallest, top;  // bits of 2^(M-k/2+1-q) and 2^(M-q)

        /// least: M-k/2+1 plus the exponent's bias in a double.
        static QSTEP_HOST_DEVICE Magnitudes of(double norm, std::uint32_t least,
                                               const Parameters& parameters) {
            constexpr int kBias = 1023, kFloatBias = 127, kLeast = -110, kMost = 125;
            const int e =
                static_cast<int>(std::bit_cast<std::uint64_t>(norm) >> kDoubleMantissaBits & 0x7ff) - kBias;
            const int q = (e < kLeast ? kLeast : e > kMost ? kMost : e) - e;
            const auto scale =
                std::bit_cast<double>(static_cast<std::uint64_t>(kBias + q) << kDoubleMantissaBits);
            const auto steps = static_cast<std::uint32_t>(parameters.levels / 2 - 1);
            const std::uint32_t low = least + static_cast<std::uint32_t>(kFloatBias - kBias - q);
            return {static_cast<float>(norm * scale), low << kMantissaBits, (low + steps) << kMantissaBits};
        }
    };

    struct Fit {
        double norm;
        std::uint32_t least;  // M-k/2+1 plus the exponent's bias in a double
        Magnitudes magnitudes;
        float inverse;  // 1 / (N 2^q)
        bool finite;
    };

    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& measure, std::int64_t, const Parameters& parameters) {
        if (!(measure.largest > 0) || !measure.finite) return {0.0, 0, {0.0f, 0, 0}, 0.0f, measure.finite};
        constexpr std::uint64_t kWideMantissa = (std::uint64_t{1} << kDoubleMantissaBits) - 1;
        const double norm = std::sqrt(measure.squares);
        const auto bits = std::bit_cast<std::uint64_t>(measure.largest / norm);
        const auto top = static_cast<std::uint32_t>((bits + kWideMantissa) >> kDoubleMantissaBits);
        const std::uint32_t least = top - static_cast<std::uint32_t>(parameters.levels / 2 - 1);
        const auto magnitudes = Magnitudes::of(norm, least, parameters);
        return {norm, least, magnitudes, quotient_reaching(1.0f, magnitudes.unit), true};
    }

    struct SignedPower {
        std::uint32_t power;  // bits of 2^(e-q)
        std::uint32_t sign;   // 0 or 0x80000000
    };

    class Rounder {
      public:
        using Code = SignedPower;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : inverse_(fit.inverse),
              smallest_(std::bit_cast<float>(fit.magnitudes.smallest)),
              top_(std::bit_cast<float>(fit.magnitudes.top)),
              unit_(fit.magnitudes.unit) {}

        QSTEP_HOST_DEVICE float operator()(float x, std::uint32_t word, Code& code) const {
            const auto value_bits = std::bit_cast<std::uint32_t>(x);
            code.sign = (x == 0.0f ? word << 31 : value_bits) & 0x80000000u;
            const float magnitude = std::fabs(x) * inverse_;
            const float a = smaller(larger(magnitude, smallest_), top_);
            const auto bits = std::bit_cast<std::uint32_t>(a);
            code.power = (bits + (word >> (32 - kMantissaBits))) & ~kMantissa;
            const float left = std::bit_cast<float>(bits & ~kMantissa);
            return (a - left) * ((left + left) - a);
        }
        QSTEP_HOST_DEVICE double scale() const { return static_cast<double>(unit_) * unit_; }

      private:
        float inverse_, smallest_, top_, unit_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit& fit) { return fit.norm == 0.0; }
    static QSTEP_HOST_DEVICE float neutral(const Fit&) { return 0.0f; }

    class Decoder {
      public:
        using Code = SignedPower;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : magnitudes_(fit.magnitudes) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters& parameters)
            : magnitudes_(Magnitudes::of(std::bit_cast<double>(std::uint64_t{words[2]} << 32 | words[1]),
                                         words[0], parameters)) {}

        QSTEP_HOST_DEVICE float value(const Code& code) const {
            constexpr float kLargest = std::numeric_limits<float>::max();
            const float wide = std::bit_cast<float>(code.power) * magnitudes_.unit;
            // 2^M N may lie above the largest float although the bucket's elements do not.
            // From a damaged header it may be NaN, which becomes the largest float too: on all devices the
            // first of two floats is what a comparison with NaN leaves.
            const float magnitude = smaller(kLargest, wide);
            return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | code.sign);
        }
        /// The sign is the lowest bit.
        QSTEP_HOST_DEVICE std::uint32_t index(const Code& code) const {
            return (code.power - magnitudes_.smallest) >> kMantissaBits << 1 | code.sign >> 31;
        }
        QSTEP_HOST_DEVICE Code code(std::uint32_t index) const {
            return {magnitudes_.smallest + (index >> 1 << kMantissaBits), index << 31};
        }

      private:
        Magnitudes magnitudes_;
    };

    /// The exponent of the smallest magnitude, M - k/2 + 1, plus 1023; N as a double, its lower half first.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 3; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        const auto norm = std::bit_cast<std::uint64_t>(fit.norm);
        return static_cast<std::uint32_t>(i == 0 ? fit.least : i == 1 ? norm : norm >> 32);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

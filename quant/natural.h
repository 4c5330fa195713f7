// `natural`: a sign and a power of two, without any norm (Horvath et al., "Natural compression for
// distributed deep learning", 2019, definition 1).
//
//   2^e <= |x| < 2^(e+1):  value = sign(x) 2^(e+1) with probability |x| / 2^e - 1, else sign(x) 2^e
//
// In a float's bits that is adding the draw to the mantissa and cutting the mantissa off: the carry moves the
// exponent, and all 23 bits of the probability are exact. Nine bits remain, sign and exponent. A bucket only
// matters in that one number that is not finite spoils all of its own.
//
// Zero stays +0. Below 2^-126, where floats are subnormal, an element becomes 2^-126 with probability |x| /
// 2^-126, else +0: the same bits do it, unbiased. Above 2^127 there is no power left, so such an element
// becomes 2^127, which is biased, and its variance counts 0.
#pragma once

#include "quant/algorithm.h"

namespace qstep::quant {

struct Natural : Formula<Natural>, RangeMeasured {
    struct alignas(4) Fit {
        bool finite;
    };

    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& extent, std::int64_t, const Parameters&) {
        return {extent.finite};
    }

    static constexpr int kMantissaBits = 23;
    static constexpr std::uint32_t kSignBit = 0x80000000u;
    static constexpr std::uint32_t kMantissa = (1u << kMantissaBits) - 1;
    static constexpr std::uint32_t kLargestPower = 254u << kMantissaBits;  // 2^127

    class Rounder {
      public:
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit&) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            const auto bits = std::bit_cast<std::uint32_t>(x), magnitude = bits & ~kSignBit;
            const std::uint32_t below = magnitude & ~kMantissa;
            const std::uint32_t drawn = (magnitude + (word >> (32 - kMantissaBits))) & ~kMantissa;
            const std::uint32_t power = drawn > kLargestPower ? kLargestPower : drawn;
            code = power == 0 ? 0u : power | (bits & kSignBit);
            const double a = std::bit_cast<float>(magnitude), left = std::bit_cast<float>(below);
            const double right = below == 0 ? 0x1p-126 : 2.0 * left;
            const double product = (a - left) * (right - a);
            return below == kLargestPower ? 0.0 : product;
        }
        static QSTEP_HOST_DEVICE double scale() { return 1.0; }
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }
    static QSTEP_HOST_DEVICE float neutral(const Fit&) { return 0.0f; }

    class Decoder {
      public:
        /// The bits of the value.
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit&) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t*, const Parameters&) {}

        static QSTEP_HOST_DEVICE float value(Code code) { return std::bit_cast<float>(code); }
        /// The exponent as a float has it, with the sign above.
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) { return code >> kMantissaBits; }
        /// The exponent of infinity stands for NaN, and there is no -0.
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) {
            const std::uint32_t bits = index << kMantissaBits, exponent = index & 255u;
            return exponent == 255u ? kNanWord : exponent == 0u ? 0u : bits;
        }
    };

    /// The codes say it all.
    static constexpr std::int64_t kCodes = 512;
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 0; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit&, std::int64_t) { return 0; }
    static constexpr std::uint32_t kNanIndex = 255;
};

}  // namespace qstep::quant

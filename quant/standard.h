// `standard`: k evenly spaced levels between the bucket's smallest and largest element (QSGD's uniform levels
// placed as in "Model compression via distillation and quantization", Polino, Pascanu, Alistarh, 2018,
// section 2.1, with stochastic rounding).
//
//   u = (max - min) / (k - 1);  code = floor((x - min) / u + U);  value = min + u * code
//
// min and max are hit exactly, values never leave [min, max], a constant bucket becomes its minimum.
//
// All is done in 32 bits. The bucket is scaled by a power of two that brings its largest magnitude near 1, so
// neither the range of the largest floats nor the steps of the smallest leave float. (x - min) / u becomes a
// fixed-point number of 31 bits, of which F are for the fraction: 23 for up to 256 levels, for more 31 less
// the bits of a code. U has F bits. Roundings to float and the cut to F bits put the expected code off by at
// most 2^-21 (x - min) / u + 2^-F, so the expected value by hardly more than floats near max - min lie apart.
// A level is off by at most 2^-22 (max - min) and its rounding to float.
#pragma once

#include "quant/algorithm.h"

namespace qstep::quant {

struct Standard : Formula<Standard>, RangeMeasured {
    /// Where the levels are.
    struct Levels {
        float low, step;      // scaled
        float shrink, power;  // to the scale and back
        float top;            // k - 1
        float lowest, high;   // min, max

        static QSTEP_HOST_DEVICE Levels of(float low, float high, const Parameters& parameters) {
            const auto top = static_cast<float>(static_cast<std::int32_t>(parameters.levels - 1));
            const PowerOfTwo scale = power_of(-low > high ? -low : high);
            const float scaled_low = low * scale.inverse;
            return {
                scaled_low, (high * scale.inverse - scaled_low) / top, scale.inverse, scale.power, top, low,
                high};
        }
    };

    struct Fit {
        float low, high;
        Levels levels;
        float inverse;               // 2^F/u, scaled, or 0 for a constant bucket
        std::int32_t fraction_bits;  // F
        bool finite;
    };

    static constexpr std::int32_t kFixedBits = 31, kMostFractionBits = 23;

    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& extent, std::int64_t, const Parameters& parameters) {
        const Levels levels = Levels::of(extent.low, extent.high, parameters);
        std::int32_t fraction_bits = kMostFractionBits;
        while (parameters.levels > std::int64_t{1} << (kFixedBits - fraction_bits)) --fraction_bits;
        const auto limit =
            static_cast<float>((static_cast<std::int32_t>(parameters.levels) - 1) << fraction_bits);
        const float range = extent.high * levels.shrink - levels.low;
        const float inverse = range > 0 ? quotient_reaching(limit, range) : 0.0f;
        return {extent.low, extent.high, levels, inverse, fraction_bits, extent.finite};
    }

    class Rounder {
      public:
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : shrink_(fit.levels.shrink),
              low_(fit.levels.low),
              inverse_(fit.inverse),
              whole_(static_cast<float>(1 << fit.fraction_bits)),
              limit_(static_cast<std::int32_t>(fit.levels.top) << fit.fraction_bits),
              mask_((1 << fit.fraction_bits) - 1),
              fraction_bits_(fit.fraction_bits),
              scaled_step_(fit.levels.step),
              power_(fit.levels.power) {}

        /// Returns 2^2F f(1-f), f the fractional part of (x-min)/u.
        QSTEP_HOST_DEVICE float operator()(float x, std::uint32_t word, Code& code) const {
            const auto reached = static_cast<std::int32_t>((x * shrink_ - low_) * inverse_);
            const std::int32_t position = reached < limit_ ? reached : limit_;
            code = (static_cast<std::uint32_t>(position) + (word >> (32 - fraction_bits_))) >> fraction_bits_;
            const auto fraction = static_cast<float>(position & mask_);
            return fraction * (whole_ - fraction);
        }
        QSTEP_HOST_DEVICE double scale() const {
            const double unit = static_cast<double>(scaled_step_ / whole_) * power_;
            return unit * unit;
        }

      private:
        float shrink_, low_, inverse_, whole_;
        std::int32_t limit_, mask_, fraction_bits_;
        float scaled_step_, power_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }
    static QSTEP_HOST_DEVICE float neutral(const Fit& fit) { return fit.low; }

    class Decoder {
      public:
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : levels_(fit.levels) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters& parameters)
            : levels_(
                  Levels::of(std::bit_cast<float>(words[0]), std::bit_cast<float>(words[1]), parameters)) {}

        QSTEP_HOST_DEVICE float value(Code code) const {
            const auto steps = static_cast<float>(static_cast<std::int32_t>(code));
            const float inner = (levels_.low + levels_.step * steps) * levels_.power;
            // The ends may have lost bits to the scale.
            const float above = steps == 0.0f ? levels_.lowest : inner;
            return steps == levels_.top ? levels_.high : above;
        }
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) { return code; }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) { return index; }

      private:
        Levels levels_;
    };

    /// min, max.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 2; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        return std::bit_cast<std::uint32_t>(i == 0 ? fit.low : fit.high);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

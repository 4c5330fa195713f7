// `qsgd`: a sign and one of s + 1 evenly spaced magnitudes between 0 and the bucket's norm (Alistarh, Grubic,
// Li, Tomioka, Vojnovic, "QSGD: communication-efficient SGD via gradient quantization and encoding", 2017,
// section 3.1), and `terngrad`, which is the same with the largest magnitude for the norm and s = 1: {-m, 0,
// m} (Wen et al., "TernGrad: ternary gradients to reduce communication in distributed deep learning", 2017,
// equation 2, without its clipping).
//
//   magnitude = floor(|x| / N s + U);  value = sign(x) N / s magnitude
//
// N: ||bucket||_2 as in the paper, or max |x|. s = (k - 1) / 2 rounded down, so that 2s + 1 values are at
// most k. An exact zero always stays one. With max |x| the largest elements stay too.
#pragma once

#include <cmath>

#include "quant/algorithm.h"

namespace qstep::quant {

template <bool kEuclidean>
struct Qsgd : Formula<Qsgd<kEuclidean>>, NormMeasured {
    struct Fit {
        double norm;     // N
        double step;     // N / s
        double inverse;  // s / N, or 0 for an all-zero bucket
        bool finite;
    };

    static constexpr bool kSums = kEuclidean;

    static QSTEP_HOST_DEVICE double magnitudes(const Parameters& parameters) {
        return static_cast<double>((parameters.levels - 1) / 2);
    }
    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& measure, std::int64_t, const Parameters& parameters) {
        const double norm = kEuclidean ? std::sqrt(measure.squares) : measure.largest;
        const double s = magnitudes(parameters);
        return {norm, norm / s, measure.largest > 0 ? s / norm * kShade : 0.0, measure.finite};
    }

    class Rounder {
      public:
        using Code = double;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit) : step_(fit.step), inverse_(fit.inverse) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            const double position = std::fabs(x) * inverse_;
            const double fraction = position - whole_part(position);
            const double magnitude = whole_part(position + wide_uniform(word));
            code = x < 0.0f ? -magnitude : magnitude;
            return fraction * (1.0 - fraction);
        }
        QSTEP_HOST_DEVICE double scale() const { return step_ * step_; }

      private:
        double step_, inverse_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit& fit) { return fit.norm == 0.0; }
    static QSTEP_HOST_DEVICE float neutral(const Fit&) { return 0.0f; }

    class Decoder {
      public:
        /// The magnitude with the sign: a whole number.
        using Code = double;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : step_(fit.step) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters& parameters) {
            const double norm = kEuclidean ? std::bit_cast<double>(std::uint64_t{words[0]} << 32 | words[1])
                                           : std::bit_cast<float>(words[0]);
            step_ = norm / magnitudes(parameters);
        }

        /// + 0 makes of -0 the only zero.
        QSTEP_HOST_DEVICE float value(Code code) const {
            constexpr float kLargest = std::numeric_limits<float>::max();
            const auto wide = static_cast<float>(step_ * code) + 0.0f;
            // The level above the largest float may be the next one to an element.
            return wide > kLargest ? kLargest : wide < -kLargest ? -kLargest : wide;
        }
        /// 0, 1, -1, 2, -2, ...
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) {
            const auto whole = static_cast<std::int32_t>(code);
            return static_cast<std::uint32_t>(whole > 0 ? 2 * whole - 1 : -2 * whole);
        }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) {
            const auto magnitude = static_cast<std::int32_t>((index + 1) / 2);
            return index % 2 != 0 ? magnitude : -magnitude;
        }

      private:
        double step_;
    };

    /// N: as a double, its upper half first, or as a float.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return kEuclidean ? 2 : 1; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        if constexpr (!kEuclidean) return std::bit_cast<std::uint32_t>(static_cast<float>(fit.norm));
        const auto norm = std::bit_cast<std::uint64_t>(fit.norm);
        return static_cast<std::uint32_t>(i == 0 ? norm >> 32 : norm);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

using QsgdEuclidean = Qsgd<true>;
using QsgdMax = Qsgd<false>;

}  // namespace qstep::quant

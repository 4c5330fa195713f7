// `sign`: one bit an element, the sign times the bucket's mean magnitude (Karimireddy, Rebjock, Stich, Jaggi,
// "Error feedback fixes SignSGD and other gradient compression schemes", 2019, section 3; there for a layer):
//
//   value = sign(x) m,  m = mean |x|;  a zero counts as positive
//
// Nothing is drawn, and it is biased: meant for use with error feedback, where it is a contraction, ||x -
// q||^2 = ||x||^2 - n m^2. In the place of the variance it reports the squared error, sum of (x - q)^2. A
// bucket whose mean is below the smallest float becomes +0 throughout.
#pragma once

#include <cmath>

#include "quant/algorithm.h"

namespace qstep::quant {

struct Sign : Formula<Sign> {
    struct Measure {
        double sum = 0;
        bool finite = true;
    };

    struct Fit {
        float mean;  // m
        bool finite;
    };

    static constexpr bool kSums = true;
    static QSTEP_HOST_DEVICE float projected(float x) { return std::fabs(x); }
    static QSTEP_HOST_DEVICE double term(float x) { return std::fabs(x); }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double sum) {
        return {sum, extent.finite};
    }
    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return {a.sum + b.sum, a.finite && b.finite};
    }
    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& measure, std::int64_t n, const Parameters&) {
        return {static_cast<float>(measure.sum / static_cast<double>(n)), measure.finite};
    }

    class Rounder {
      public:
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit) : mean_(fit.mean) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t, Code& code) const {
            code = x < 0.0f ? 1u : 0u;
            const double error = std::fabs(x) - mean_;
            return error * error;
        }
        static QSTEP_HOST_DEVICE double scale() { return 1.0; }

      private:
        double mean_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit& fit) { return fit.mean == 0.0f; }
    static QSTEP_HOST_DEVICE float neutral(const Fit& fit) { return fit.mean; }

    class Decoder {
      public:
        /// 1: negative.
        using Code = std::uint32_t;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : mean_(std::bit_cast<std::uint32_t>(fit.mean)) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters&) : mean_(words[0]) {}

        QSTEP_HOST_DEVICE float value(Code code) const { return std::bit_cast<float>(mean_ | code << 31); }
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) { return code; }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) { return index; }

      private:
        std::uint32_t mean_;
    };

    /// m.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 1; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t) {
        return std::bit_cast<std::uint32_t>(fit.mean);
    }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

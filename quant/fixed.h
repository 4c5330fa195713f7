// `fixed`: fixed-point numbers with IL integer and FL fraction bits, the sign among the integer bits (Gupta,
// Agrawal, Gopalakrishnan, Narayanan, "Deep learning with limited numerical precision", 2015, section 3.1).
//
//   eps = 2^-FL;  value = eps floor(x / eps + U), in [-2^(IL-1), 2^(IL-1) - eps]
//
// An element outside of that range becomes its nearer end, which is biased, and its variance counts 0. The
// levels are the same for all buckets; a bucket only matters in that one number that is not finite spoils all
// of its own.
#pragma once

#include "quant/algorithm.h"

namespace qstep::quant {

struct Fixed : Formula<Fixed>, RangeMeasured {
    struct Fit {
        double inverse;  // 2^FL
        double zero;     // the code of 0, 2^(IL+FL-1)
        bool finite;
    };

    /// parameters.extra: FL; parameters.levels: 2^(IL+FL).
    static QSTEP_HOST_DEVICE double inverse_of(const Parameters& parameters) {
        return static_cast<double>(std::int64_t{1} << parameters.extra);
    }
    static QSTEP_HOST_DEVICE double zero_of(const Parameters& parameters) {
        return static_cast<double>(parameters.levels / 2);
    }
    static QSTEP_HOST_DEVICE Fit fit_of(const Measure& extent, std::int64_t, const Parameters& parameters) {
        return {inverse_of(parameters), zero_of(parameters), extent.finite};
    }

    class Rounder {
      public:
        using Code = double;

        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit)
            : inverse_(fit.inverse), zero_(fit.zero), top_(2.0 * fit.zero - 1.0) {}

        QSTEP_HOST_DEVICE double operator()(float x, std::uint32_t word, Code& code) const {
            const double wide = x * inverse_ + zero_;
            const double raised = wide > 0.0 ? wide : 0.0;
            const double position = raised < top_ ? raised : top_;
            const double fraction = position - whole_part(position);
            code = whole_part(position + wide_uniform(word));
            return fraction * (1.0 - fraction);
        }
        QSTEP_HOST_DEVICE double scale() const { return 1.0 / (inverse_ * inverse_); }

      private:
        double inverse_, zero_, top_;
    };
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }
    static QSTEP_HOST_DEVICE float neutral(const Fit&) { return 0.0f; }

    class Decoder {
      public:
        /// A whole number.
        using Code = double;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : step_(1.0 / fit.inverse), zero_(fit.zero) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t*, const Parameters& parameters)
            : step_(1.0 / inverse_of(parameters)), zero_(zero_of(parameters)) {}

        QSTEP_HOST_DEVICE float value(Code code) const { return static_cast<float>(step_ * (code - zero_)); }
        static QSTEP_HOST_DEVICE std::uint32_t index(Code code) {
            return static_cast<std::uint32_t>(static_cast<std::int32_t>(code));
        }
        static QSTEP_HOST_DEVICE Code code(std::uint32_t index) { return static_cast<std::int32_t>(index); }

      private:
        double step_, zero_;
    };

    /// One word, which says nothing but that the bucket is finite.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters&) { return 1; }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit&, std::int64_t) { return 0; }
    static constexpr std::uint32_t kNanIndex = 0;
};

}  // namespace qstep::quant

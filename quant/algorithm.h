// What a codec is made of. An algorithm is a struct of static functions, compiled for every device; from it
// come the quantizer in place, the fused update, and encoding to and decoding from a packed stream
// (quant/stream.h). It has these members:
//
//   Measure, merge_measures(a, b)   what the fit needs to know of a bucket; of two neighbouring chunks of it
//   Fit                             what rounding needs to know; has `bool finite`
//   measure(group, x, n)            of a bucket or a chunk
//   fit(group, fit, measure, x, n, context)
//                                   sets `fit` by rank 0 or by all, and need not wait; x: the whole bucket
//   with_rounder(fit, f)            f(rounder); returns what f does
//     rounder(x, word, code)        sets `code`, returns the element's share of the variance, a float or a
//                                   double; no branches
//     rounder.scale()               from the sum of the shares to the sum of (x-l)(r-x)
//   kRemedy                         what makes the memory of a fit smaller (Workspace::reserve()), or ""
//   vanishes(fit)                   whether the bucket becomes +0 throughout without being rounded. All its
//                                   codes are index 0 then, which must decode to +0
//   Decoder                         from codes to values
//     Decoder(fit)                  for a bucket that was just fitted
//     Decoder(words, parameters)    the same from the bucket's header: words[0 .. header_words)
//     Code                          what rounding yields, in any type that loops like: a double, a struct
//     value(code)                   the float. Both paths call this, so they give the same bits
//     index(code), code(index)      the code as a number 0 <= index < levels, and back
//   header_words(parameters)        32-bit words of a bucket's header in a stream; may be 0
//   header_word(fit, i)             word i of a finite bucket
//   kNanIndex                       index of the elements of a bucket that is not finite. With a header it is
//                                   0, and word 0 says so: no finite bucket's word 0 may be kNanWord. Without
//                                   one it must decode to kNotANumber
//
// Where the fit is a formula of an extent and a sum, deriving from Formula gives measure, fit and
// with_rounder for these:
//
//   projected(x)                    the Measure holds the extent of these floats,
//   kSums, term(x)                  and if kSums, the sum of these doubles. Then one zero element more must
//                                   not change the measure: term(0) = 0, and projected is |x|, of which only
//                                   extent.high is looked at
//   measure_of(extent, sum)
//   fit_of(measure, n, parameters)  n: the bucket's length
//   Rounder(fit)                    the rounder
//   neutral(fit)                    an element whose share of the variance is 0
#pragma once

#include <cmath>

#include "quant/group.h"

namespace qstep::quant {

inline constexpr std::uint32_t kNanWord = 0x7fc00000u;

/// A power of two and its reciprocal, both normal floats.
struct PowerOfTwo {
    float power, inverse;
};

/// The largest power of two that a magnitude reaches, within 2^-100 .. 2^126. A float of at most that
/// magnitude times the inverse is below 4, and exact unless it is 2^-126 of the magnitude. (Divided by 2^49
/// the power is still a float: `hadamard` divides by a bucket's size.)
QSTEP_HOST_DEVICE inline PowerOfTwo power_of(float magnitude) {
    constexpr int kBias = 127, kLeast = -100, kMost = 126;
    const int wanted = static_cast<int>(std::bit_cast<std::uint32_t>(magnitude) >> 23 & 0xffu) - kBias;
    const int e = wanted < kLeast ? kLeast : wanted > kMost ? kMost : wanted;
    return {std::bit_cast<float>(static_cast<std::uint32_t>(kBias + e) << 23),
            std::bit_cast<float>(static_cast<std::uint32_t>(kBias - e) << 23)};
}

/// The next float, of one that is not negative.
QSTEP_HOST_DEVICE inline float next_above(float x) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) + 1);
}

/// of / by for positive floats; the next float where the product of that with `by` does not reach `of`.
QSTEP_HOST_DEVICE inline float quotient_reaching(float of, float by) {
    const float quotient = of / by;
    return quotient * by < of ? next_above(quotient) : quotient;
}

template <typename Self>
struct Formula {
    static constexpr const char* kRemedy = "";

    /// Algorithm: Self, which is complete by the time this is called. (A deduced return type would do, but
    /// not for nvcc, which then checks the body before it knows that a group is the device's.)
    template <typename Group, typename Algorithm = Self>
    static QSTEP_HOST_DEVICE typename Algorithm::Measure measure(Group& group, const float* x,
                                                                 std::int64_t n) {
        const Extent extent = group.extent(n, [=](std::int64_t i) { return Self::projected(x[i]); });
        double sum = 0;
        if constexpr (Self::kSums) sum = group.sum(n, [=](std::int64_t i) { return Self::term(x[i]); });
        return Self::measure_of(extent, sum);
    }
    template <typename Group, typename Fit, typename Measure>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit, const Measure& measure, const float*,
                                      std::int64_t n, const FitContext& context) {
        if (group.rank() == 0) fit = Self::fit_of(measure, n, context.parameters);
    }
    template <typename Fit, typename F>
    static QSTEP_HOST_DEVICE double with_rounder(const Fit& fit, F f) {
        return f(typename Self::Rounder(fit));
    }
};

/// What is measured by algorithms that need the bucket's range alone.
struct RangeMeasured {
    using Measure = Extent;

    static constexpr bool kSums = false;
    static QSTEP_HOST_DEVICE float projected(float x) { return x; }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double) { return extent; }
    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return merge(a, b);
    }
};

/// By those that need its largest magnitude and its norm; one that needs no norm sets kSums to false.
struct NormMeasured {
    struct Measure {
        double squares = 0;
        float largest = 0;
        bool finite = true;
    };

    static constexpr bool kSums = true;
    static QSTEP_HOST_DEVICE float projected(float x) { return std::fabs(x); }
    static QSTEP_HOST_DEVICE double term(float x) {
        const double wide = x;
        return wide * wide;
    }
    static QSTEP_HOST_DEVICE Measure measure_of(const Extent& extent, double squares) {
        return {squares, extent.high, extent.finite};
    }
    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return {a.squares + b.squares, a.largest > b.largest ? a.largest : b.largest, a.finite && b.finite};
    }
};

/// Takes codes and stores values; out: an Out (quant/group.h).
template <typename Algorithm, typename Out>
struct ValueStore {
    typename Algorithm::Decoder decoder;
    Out out;

    QSTEP_HOST_DEVICE void operator()(std::int64_t i, const typename Algorithm::Decoder::Code& code) const {
        out[i] = decoder.value(code);
    }
    QSTEP_HOST_DEVICE void zero(std::int64_t i) const { out[i] = 0.0f; }
    QSTEP_HOST_DEVICE void not_a_number(std::int64_t i) const { out[i] = kNotANumber; }
};

/// Takes codes and stores their indices: out[i] = index for 0 <= i < n.
template <typename Algorithm, typename Out>
struct IndexStore {
    typename Algorithm::Decoder decoder;
    Out out;

    QSTEP_HOST_DEVICE void operator()(std::int64_t i, const typename Algorithm::Decoder::Code& code) const {
        out[i] = decoder.index(code);
    }
    QSTEP_HOST_DEVICE void zero(std::int64_t i) const { out[i] = 0u; }
    QSTEP_HOST_DEVICE void not_a_number(std::int64_t i) const { out[i] = Algorithm::kNanIndex; }
};

/// Rounds the bucket or chunk x[0..n) and hands every element's code to `store`, which may write to x.
/// Returns the sum of (x-l)(r-x), NaN where the bucket is not finite.
template <typename Algorithm, typename Group, typename Store>
QSTEP_HOST_DEVICE double round_bucket(Group& group, const typename Algorithm::Fit& fit, Store store,
                                      const float* x, std::int64_t n, const Draws& draws) {
    if (!fit.finite) {
        group.for_each(n, [=](std::int64_t i) { store.not_a_number(i); });
        return std::numeric_limits<double>::quiet_NaN();
    }
    if (Algorithm::vanishes(fit)) {
        group.for_each(n, [=](std::int64_t i) { store.zero(i); });
        return 0.0;
    }
    return Algorithm::with_rounder(fit, [&](const auto& chosen) {
        const auto rounder = chosen;
        const double spread = group.sum(n, draws, [=](std::int64_t i, std::uint32_t word) {
            typename Algorithm::Decoder::Code code;
            const auto share = rounder(x[i], word, code);
            store(i, code);
            return share;
        });
        return spread * rounder.scale();
    });
}

/// The same with values for codes; out may be x.
template <typename Algorithm, typename Group, typename Out>
QSTEP_HOST_DEVICE double round_to_values(Group& group, const typename Algorithm::Fit& fit, Out out,
                                         const float* x, std::int64_t n, const Draws& draws) {
    const ValueStore<Algorithm, Out> store{typename Algorithm::Decoder(fit), out};
    return round_bucket<Algorithm>(group, fit, store, x, n, draws);
}

/// Word i of a bucket's header.
template <typename Algorithm>
QSTEP_HOST_DEVICE std::uint32_t bucket_header_word(const typename Algorithm::Fit& fit, std::int64_t i) {
    return fit.finite ? Algorithm::header_word(fit, i) : kNanWord;
}

/// Whether a bucket's header says that it is not finite.
template <typename Algorithm>
QSTEP_HOST_DEVICE bool is_not_a_number(const std::uint32_t* words, const Parameters& parameters) {
    return Algorithm::header_words(parameters) > 0 && words[0] == kNanWord;
}

}  // namespace qstep::quant

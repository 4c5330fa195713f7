// `hadamard`: `standard` in a randomly rotated basis (Suresh, Yu, Kumar, McMahan: "Distributed mean
// estimation with limited communication", 2017, section 3).
//
// The bucket is padded with zeros to P = 2^m elements, multiplied by random signs D (Purpose::rotation, one
// per element of the gradient), transformed with the orthonormal Walsh-Hadamard matrix W, quantized by
// `standard` over all P elements, transformed back (W^2 = I, D^2 = I) and cut to its length. The variance
// reported is that of the padded, rotated vector. A short last bucket has a P of its own. The draw for
// element j of padded bucket b is word b * P + j, P being that of a full bucket.
//
// W = H / sqrt(P) with H of +-1. `standard` commutes with scaling, so H alone is applied both ways and 1/P
// comes at the end: no irrational factor. The bucket is first scaled by a power of two that brings its
// largest magnitude near 1, so nothing over- or underflows on the way; results beyond the largest float are
// cut to it.
#pragma once

#include <cmath>

#include "quant/standard.h"

namespace qstep::quant {

struct Hadamard {
    /// Where there is no memory for a bucket (Workspace::reserve()).
    static constexpr const char* kRemedy = "a smaller --bucket-size needs less";

    struct Scale {
        float forward;    // 2^-e
        float backward;   // 2^e / P
        double variance;  // 2^2e / P
        bool finite;
    };

    /// The range of |x|, of a bucket or of a chunk of it.
    template <typename Group>
    static QSTEP_HOST_DEVICE Extent measure(Group& group, const float* x, std::int64_t n) {
        return group.extent(n, [=](std::int64_t i) { return std::fabs(x[i]); });
    }

    static QSTEP_HOST_DEVICE Scale scale(const Extent& magnitudes, std::int64_t padded) {
        return scale(power_of(magnitudes.high).inverse, padded, magnitudes.finite);
    }
    static QSTEP_HOST_DEVICE Scale scale(float forward, std::int64_t padded, bool finite) {
        const double back = 1.0 / forward;
        const auto count = static_cast<double>(padded);
        return {forward, static_cast<float>(back / count), back * back / count, finite};
    }

    /// A bucket's header in a stream: 2^e, and the header of `standard`.
    static constexpr std::int64_t kHeaderWords = 3;
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Scale& scale, const Standard::Fit& fit,
                                                       std::int64_t i) {
        if (!scale.finite) return kNanWord;
        return i == 0 ? std::bit_cast<std::uint32_t>(1.0f / scale.forward)
                      : Standard::header_word(fit, i - 1);
    }
    static QSTEP_HOST_DEVICE Scale scale_from(const std::uint32_t* words, std::int64_t padded) {
        // Of what is no power of two in a header, the exponent.
        return scale(power_of(std::bit_cast<float>(words[0])).inverse, padded, words[0] != kNanWord);
    }

    /// What a bucket that is not finite becomes.
    template <typename Group, typename Out>
    static QSTEP_HOST_DEVICE double fill_not_a_number(Group& group, Out out, std::int64_t n) {
        group.for_each(n, [=](std::int64_t i) { out[i] = kNotANumber; });
        return std::numeric_limits<double>::quiet_NaN();
    }

    /// y[0..padded) = H-ready bucket or chunk: signed, scaled, zeros behind x's n elements.
    template <typename Group>
    static QSTEP_HOST_DEVICE void load(Group& group, float* y, std::int64_t padded, const float* x,
                                       std::int64_t n, const Scale& scale, const Signs& signs) {
        const float forward = scale.forward;
        group.for_each_sign(n, signs, [=](std::int64_t i, std::uint32_t sign) {
            y[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x[i] * forward) ^ sign);
        });
        group.for_each(padded - n, [=](std::int64_t i) { y[n + i] = 0.0f; });
    }

    /// out[0..n) from the transformed y.
    template <typename Group, typename Out>
    static QSTEP_HOST_DEVICE void store(Group& group, Out out, const float* y, std::int64_t n,
                                        const Scale& scale, const Signs& signs) {
        const float backward = scale.backward;
        group.for_each_sign(n, signs, [=](std::int64_t i, std::uint32_t sign) {
            constexpr float kLargest = std::numeric_limits<float>::max();
            const float signed_value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(y[i]) ^ sign);
            const float value = signed_value * backward;
            const float low_cut = value < -kLargest ? -kLargest : value;
            // + 0 turns -0 into +0.
            out[i] = (low_cut > kLargest ? kLargest : low_cut) + 0.0f;
        });
    }

    /// Columns of a matrix that are transformed together: a cache line.
    static constexpr std::int64_t kStrip = 16;

    /// The stages h = pitch, 2 pitch, ... of y: [rows, pitch], for columns column .. column + kStrip - 1,
    /// through `strip`: [rows, kStrip], the group's own.
    template <typename Group>
    static QSTEP_HOST_DEVICE void transform_columns(Group& group, float* y, std::int64_t rows,
                                                    std::int64_t pitch, std::int64_t column, float* strip) {
        const auto place = [=](std::int64_t i) { return i / kStrip * pitch + column + i % kStrip; };
        group.for_each(rows * kStrip, [=](std::int64_t i) { strip[i] = y[place(i)]; });
        group.walsh_hadamard(strip, rows * kStrip, kStrip);
        group.for_each(rows * kStrip, [=](std::int64_t i) { y[place(i)] = strip[i]; });
        group.barrier();
    }

    /// y = the rotated bucket x of n <= padded <= kChunk elements; y: [padded], the group's own.
    template <typename Group>
    static QSTEP_HOST_DEVICE Standard::Fit rotate(Group& group, const float* x, std::int64_t n, float* y,
                                                  std::int64_t padded, const Parameters& parameters,
                                                  const Scale& scale, const Signs& signs) {
        load(group, y, padded, x, n, scale, signs);
        group.walsh_hadamard(y, padded, 1);
        return Standard::fit_of(Standard::measure(group, y, padded), padded, parameters);
    }

    /// A whole bucket. out may be x.
    template <typename Group, typename Out>
    static QSTEP_HOST_DEVICE double quantize(Group& group, Out out, const float* x, std::int64_t n, float* y,
                                             std::int64_t padded, const Parameters& parameters,
                                             const Draws& draws, const Signs& signs) {
        const Scale scaling = scale(measure(group, x, n), padded);
        if (!scaling.finite) return fill_not_a_number(group, out, n);
        const Standard::Fit fit = rotate(group, x, n, y, padded, parameters, scaling, signs);
        const double spread = round_to_values<Standard>(group, fit, y, y, padded, draws);
        group.walsh_hadamard(y, padded, 1);
        store(group, out, y, n, scaling, signs);
        return spread * scaling.variance;
    }
};

}  // namespace qstep::quant

// A codec applied to an array in host memory, and what it cost.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/context.h"
#include "quant/codec.h"

namespace qstep {

struct QuantizedArray {
    std::vector<float> values;
    std::int64_t buckets = 0;    // of all steps; 0 for the codec none
    double variance = 0.0;       // sum of (x-l)(r-x) over all elements
    double squared_error = 0.0;  // sum of (q-x)^2
    double squared_norm = 0.0;   // sum of x^2
    double seconds = 0.0;        // in the codec alone, on memory of the device
};

/// Quantizes `steps` gradients of equal length that lie behind each other, the s-th with step number s.
/// Everything is done twice and the second time is measured, so that neither the start of threads nor fresh
/// memory is in it; the results of both are the same bits. Throws a run error where a result is not finite.
QuantizedArray quantize_array(Context& context, const CodecSettings& settings, std::span<const float> values,
                              std::int64_t steps);

}  // namespace qstep

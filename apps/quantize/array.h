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
    std::int64_t buckets = 0;        // of all steps; 0 for the codec none
    double variance = 0.0;           // sum of (x-l)(r-x) over all elements
    double squared_error = 0.0;      // sum of (q-x)^2
    double squared_norm = 0.0;       // sum of x^2
    double seconds = 0.0;            // in the codec alone, from values to values, on memory of the device
    std::int64_t packed_bytes = 0;   // of all steps' streams with their headers (quant/stream.h)
    std::int64_t entropy_bytes = 0;  // of the same, entropy-coded where that is shorter
    /// The first step's stream, packed.
    std::vector<std::byte> stream;
};

/// Quantizes `steps` gradients of equal length that lie behind each other, the s-th with step number s.
/// This is done twice, first into streams and then into values. The second time is measured, so that neither
/// the start of threads nor fresh memory is in it. Throws a run error where a result is not finite.
QuantizedArray quantize_array(Context& context, const CodecSettings& settings, std::span<const float> values,
                              std::int64_t steps);

}  // namespace qstep

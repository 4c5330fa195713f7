// Histograms of gradients, for TensorBoard and the report.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qstep {

/// `counts[i]` elements lie in the i-th of equally wide bins from `low` to `high`; a bin holds its lower
/// border, the last one both.
struct Histogram {
    double low = 0.0, high = 0.0;
    std::vector<std::int64_t> counts;
    /// Of the finite elements.
    double minimum = 0.0, maximum = 0.0, sum = 0.0, sum_of_squares = 0.0;
    std::int64_t count = 0;

    /// The upper border of bin i.
    double limit(std::size_t i) const;
};

/// The largest magnitude of a finite element; 0 without any.
float largest_magnitude(std::span<const float> values);

/// Of all finite elements, which must lie within -range .. range; one bin [0, 0] where range is 0. bins >= 1.
Histogram histogram(std::span<const float> values, float range, int bins);

/// Sum of squares in double.
double sum_of_squares(std::span<const float> values);

}  // namespace qstep

#include "train/histogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace qstep {

namespace {

// Elements taken at once: their bins are worked out by vectors, then counted one by one.
constexpr std::size_t kTile = 512;

}  // namespace

double Histogram::limit(std::size_t i) const {
    const auto bins = static_cast<double>(counts.size());
    return i + 1 == counts.size() ? high : low + (high - low) * static_cast<double>(i + 1) / bins;
}

float largest_magnitude(std::span<const float> values) {
    float largest = 0.0f;
#pragma omp simd reduction(max : largest)
    for (std::size_t i = 0; i < values.size(); ++i) {
        const float magnitude = std::fabs(values[i]);
        // False for an infinity and for NaN.
        largest = std::max(largest, magnitude <= std::numeric_limits<float>::max() ? magnitude : 0.0f);
    }
    return largest;
}

Histogram histogram(std::span<const float> values, float range, int bins) {
    Histogram result;
    result.low = -range;
    result.high = range;
    result.counts.assign(range > 0.0f ? static_cast<std::size_t>(bins) : 1, 0);
    const double scale = range > 0.0f ? bins / (2.0 * range) : 0.0;
    const int last = static_cast<int>(result.counts.size()) - 1;
    double minimum = range, maximum = -range, sum = 0.0, squares = 0.0;
    std::array<int, kTile> bin;
    for (std::size_t begin = 0; begin < values.size(); begin += kTile) {
        const std::size_t count = std::min(kTile, values.size() - begin);
        const float* tile = values.data() + begin;
#pragma omp simd reduction(min : minimum) reduction(max : maximum) reduction(+ : sum, squares)
        for (std::size_t i = 0; i < count; ++i) {
            const bool inside = std::fabs(tile[i]) <= range;
            const double value = inside ? tile[i] : 0.0;
            minimum = std::min(minimum, inside ? value : minimum);
            maximum = std::max(maximum, inside ? value : maximum);
            sum += value;
            squares += value * value;
            const int place = static_cast<int>((value + range) * scale);
            bin[i] = inside ? std::min(place, last) : -1;
        }
        for (std::size_t i = 0; i < count; ++i)
            if (bin[i] >= 0) ++result.counts[static_cast<std::size_t>(bin[i])];
    }
    for (const std::int64_t in_bin : result.counts) result.count += in_bin;
    if (result.count > 0) {
        result.minimum = minimum;
        result.maximum = maximum;
    }
    result.sum = sum;
    result.sum_of_squares = squares;
    return result;
}

double sum_of_squares(std::span<const float> values) {
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = 0; i < values.size(); ++i) sum += double{values[i]} * double{values[i]};
    return sum;
}

}  // namespace qstep

#include "train/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/random.h"

namespace qstep {
namespace {

std::vector<float> noise(std::size_t count) {
    const RandomStream stream{3, Purpose::synthetic_data, 0};
    std::vector<float> values;
    for (std::size_t i = 0; i < count; ++i)
        values.push_back(static_cast<float>(stream.bits(i)) / 4294967296.0f - 0.5f);
    return values;
}

// Sizes around the tile that is worked on at once.
TEST(Histogram, CountsWhatASearchThroughTheBordersCounts) {
    for (const std::size_t count : {0u, 1u, 511u, 512u, 513u, 2000u})
        for (const int bins : {1, 7, 30}) {
            const std::vector<float> values = noise(count);
            const Histogram h = histogram(values, 0.5f, bins);
            ASSERT_EQ(h.counts.size(), static_cast<std::size_t>(bins));
            std::vector<std::int64_t> wanted(h.counts.size(), 0);
            double sum = 0.0, squares = 0.0;
            for (const float value : values) {
                std::size_t bin = 0;
                while (bin + 1 < wanted.size() && value >= -0.5 + 1.0 * static_cast<double>(bin + 1) / bins)
                    ++bin;
                ++wanted[bin];
                sum += value;
                squares += double{value} * value;
            }
            EXPECT_EQ(h.counts, wanted) << count << " " << bins;
            EXPECT_EQ(h.count, static_cast<std::int64_t>(count));
            // Sums in another order.
            EXPECT_NEAR(h.sum, sum, 1e-9);
            EXPECT_NEAR(h.sum_of_squares, squares, 1e-9);
            EXPECT_NEAR(sum_of_squares(values), squares, 1e-9);
            if (count == 0) continue;
            EXPECT_EQ(h.minimum, *std::ranges::min_element(values));
            EXPECT_EQ(h.maximum, *std::ranges::max_element(values));
        }
}

TEST(Histogram, BordersAreTheirBins) {
    const std::vector<float> values{-1.0f, 0.0f, 1.0f};
    const Histogram h = histogram(values, 1.0f, 4);
    EXPECT_EQ(h.counts, (std::vector<std::int64_t>{1, 0, 1, 1}));
    EXPECT_EQ(h.limit(0), -0.5);
    EXPECT_EQ(h.limit(3), 1.0);
    EXPECT_EQ(largest_magnitude(values), 1.0f);
}

TEST(Histogram, ZerosHaveOneBin) {
    const std::vector<float> values(5, 0.0f);
    const Histogram h = histogram(values, largest_magnitude(values), 30);
    EXPECT_EQ(h.counts, (std::vector<std::int64_t>{5}));
    EXPECT_EQ(h.minimum, 0.0);
    EXPECT_EQ(h.limit(0), 0.0);
}

TEST(Histogram, WhatIsNotFiniteIsLeftOut) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const std::vector<float> values{kInfinity, 0.5f, std::nanf(""), -kInfinity, -0.25f};
    EXPECT_EQ(largest_magnitude(values), 0.5f);
    const Histogram h = histogram(values, 0.5f, 2);
    EXPECT_EQ(h.counts, (std::vector<std::int64_t>{1, 1}));
    EXPECT_EQ(h.count, 2);
    EXPECT_EQ(h.sum, 0.25);
}

}  // namespace
}  // namespace qstep

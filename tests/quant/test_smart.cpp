// Points of `smart` against brute force, and its rounding against the formula.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>

#include "codec_runner.h"
#include "quant/cpu/simd_group.h"
#include "quant/smart.h"

namespace qstep::test {
namespace {

using quant::Smart;
using quant::cpu::SimdGroup;

// Relative to the spread of all values: costs are differences of sums of that size in double.
constexpr double kCostTolerance = 1e-12;
/// Fills scratch memory: neither a cost nor, halved, a position.
constexpr double kUnwritten = std::bit_cast<double>(~std::uint64_t{0});

/// sum of (x-l)(r-x) over the sorted values for ascending points that include both ends.
double cost_of(const std::vector<float>& sorted, const std::vector<float>& points) {
    double cost = 0;
    std::size_t at = 0;
    for (const float x : sorted) {
        while (at + 2 < points.size() && points[at + 1] <= x) ++at;
        const double left = points[at], right = points[std::min(at + 1, points.size() - 1)];
        cost += (x - left) * (right - x);
    }
    return cost;
}

/// The exact O(k n^2) program with interval costs added up term by term.
double brute_force_cost(const std::vector<float>& v, std::int64_t levels) {
    const std::size_t n = v.size();
    std::vector<std::vector<double>> interval(n, std::vector<double>(n, 0.0));
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i; j < n; ++j)
            for (std::size_t t = i; t <= j; ++t)
                interval[i][j] += (static_cast<double>(v[t]) - v[i]) * (static_cast<double>(v[j]) - v[t]);
    std::vector<double> best = interval[0];
    for (std::int64_t layer = 2; layer < levels; ++layer) {
        std::vector<double> next(n, std::numeric_limits<double>::infinity());
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i <= j; ++i) next[j] = std::min(next[j], best[i] + interval[i][j]);
        best = next;
    }
    return best[n - 1];
}

/// The same in O(k n^2): interval costs from sums, in long double.
double quadratic_cost(const std::vector<float>& v, std::int64_t levels) {
    const std::size_t n = v.size();
    std::vector<long double> sum(n), squares(n), best(n), next(n);
    for (std::size_t i = 0; i < n; ++i) {
        const long double x = v[i];
        sum[i] = (i > 0 ? sum[i - 1] : 0) + x;
        squares[i] = (i > 0 ? squares[i - 1] : 0) + x * x;
    }
    const auto interval = [&](std::size_t i, std::size_t j) {
        const long double left = v[i], right = v[j];
        return (left + right) * (sum[j] - sum[i]) - (squares[j] - squares[i]) -
               static_cast<long double>(j - i) * left * right;
    };
    for (std::size_t j = 0; j < n; ++j) best[j] = interval(0, j);
    for (std::int64_t layer = 2; layer < levels; ++layer) {
        // Of the last layer only the end is asked for.
        for (std::size_t j = layer == levels - 1 ? n - 1 : 0; j < n; ++j) {
            next[j] = best[j];
            for (std::size_t i = 0; i < j; ++i) next[j] = std::min(next[j], best[i] + interval(i, j));
        }
        best = next;
    }
    return static_cast<double>(best[n - 1]);
}

/// The least cost over all subsets of at most `levels` values with both ends.
double enumerated_cost(const std::vector<float>& v, std::int64_t levels) {
    double best = std::numeric_limits<double>::infinity();
    const std::size_t inner = v.size() - 2;
    for (std::uint32_t set = 0; set < 1u << inner; ++set) {
        if (std::popcount(set) > levels - 2) continue;
        std::vector<float> points{v.front()};
        for (std::size_t i = 0; i < inner; ++i)
            if (set >> i & 1u) points.push_back(v[i + 1]);
        points.push_back(v.back());
        best = std::min(best, cost_of(v, points));
    }
    return best;
}

std::vector<float> points_of(const std::vector<float>& sorted, std::int64_t levels) {
    const auto count = static_cast<std::int64_t>(sorted.size());
    std::vector<std::uint32_t> keys;
    for (const float x : sorted) keys.push_back(Smart::key_of(x));
    std::vector<double> scratch(static_cast<std::size_t>(Smart::scratch_bytes(count, levels)) / 8 + 1,
                                kUnwritten);
    Smart::Fit fit;
    SimdGroup group;
    Smart::place(group, fit, keys.data(), count, levels, reinterpret_cast<char*>(scratch.data()));
    return {fit.points, fit.points + fit.count};
}

std::vector<float> random_sorted(const RandomStream& stream, std::uint64_t trial, std::int64_t n,
                                 int flavour) {
    std::vector<float> v(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < v.size(); ++i) {
        const std::uint64_t e = trial * 4096 + i;
        if (flavour == 0) v[i] = stream.uniform(e) - 0.5f;
        if (flavour == 1) v[i] = static_cast<float>(stream.below(e, 7)) - 3;                     // many ties
        if (flavour == 2) v[i] = static_cast<float>(std::exp(12.0 * stream.uniform(e)) * 1e-6);  // heavy tail
        if (flavour == 3) v[i] = 1000.0f + stream.uniform(e);  // far from zero
        if (flavour == 4)
            v[i] = static_cast<float>(std::exp(160.0 * stream.uniform(e) - 80.0));  // all scales
    }
    std::sort(v.begin(), v.end());
    return v;
}

TEST(SmartPoints, CostIsThatOfTheExactPrograms) {
    const RandomStream stream{21, Purpose::synthetic_data, 0};
    for (std::uint64_t trial = 0; trial < 1000; ++trial) {
        const std::int64_t n = 2 + stream.below(trial * 4096 + 4000, 60);
        const std::int64_t levels = 2 + stream.below(trial * 4096 + 4001, 9);
        const auto v = random_sorted(stream, trial, n, static_cast<int>(trial % 5));
        const auto points = points_of(v, levels);
        ASSERT_LE(static_cast<std::int64_t>(points.size()), levels);
        ASSERT_EQ(points.front(), v.front());
        ASSERT_EQ(points.back(), v.back());
        const double spread = (static_cast<double>(v.back()) - v.front());
        ASSERT_NEAR(cost_of(v, points), brute_force_cost(v, levels), kCostTolerance * spread * spread * n)
            << "trial " << trial << " n " << n << " levels " << levels;
    }
}

TEST(SmartPoints, CostIsTheLeastOfAllSubsets) {
    const RandomStream stream{22, Purpose::synthetic_data, 0};
    for (std::uint64_t trial = 0; trial < 1000; ++trial) {
        const std::int64_t n = 2 + stream.below(trial * 4096 + 4000, 8);
        const std::int64_t levels = 2 + stream.below(trial * 4096 + 4001, 5);
        const auto v = random_sorted(stream, trial, n, static_cast<int>(trial % 5));
        const double spread = (static_cast<double>(v.back()) - v.front());
        ASSERT_NEAR(cost_of(v, points_of(v, levels)), enumerated_cost(v, levels),
                    kCostTolerance * spread * spread * n)
            << "trial " << trial;
    }
}

TEST(SmartPoints, CostIsExactForAWholeBucket) {
    const RandomStream stream{23, Purpose::synthetic_data, 0};
    for (int flavour = 0; flavour < 5; ++flavour) {
        const auto v = random_sorted(stream, 0, 200, flavour);
        const double spread = (static_cast<double>(v.back()) - v.front());
        EXPECT_NEAR(cost_of(v, points_of(v, 16)), brute_force_cost(v, 16),
                    kCostTolerance * spread * spread * 200);
    }
}

/// What a run of the dynamic program gives.
struct Program {
    double cost;
    /// Positions of all points but the ends that it looked at.
    std::int64_t looked_at;
};

/// weighted: without bounds, so that layers are as long as there are values.
Program run_program(const std::vector<float>& sorted, std::int64_t levels, bool weighted) {
    const auto n = static_cast<std::int64_t>(sorted.size());
    std::vector<double> memory(static_cast<std::size_t>(quant::PointsScratch<>::bytes(n, levels)) / 8,
                               kUnwritten);
    std::vector<std::uint32_t> positions(static_cast<std::size_t>(levels));
    const auto scratch = quant::PointsScratch<>::at(memory.data(), n, levels);
    SimdGroup group;
    const int exponent = std::ilogb(std::max(-sorted.front(), sorted.back()));
    prepare_costs(group, scratch, n,
                  [&](std::int64_t i) { return std::ldexp(static_cast<double>(sorted[i]), -exponent); });
    const double cost = weighted ? optimal_points<true>(group, scratch, n, levels, positions.data())
                                 : optimal_points<false>(group, scratch, n, levels, positions.data());
    std::int64_t looked_at = 0;
    for (std::int64_t t = 1; t < levels - 1; ++t) looked_at += scratch.high[t] - scratch.low[t] + 1;
    return {std::ldexp(cost, 2 * exponent), looked_at};
}

// Of more than 1024 positions a layer settles every 9th first, of more than 9216 every 81st. With 40 levels
// the bounds of the points are still far apart.
TEST(SmartPoints, CostIsExactForManyCandidates) {
    const RandomStream stream{25, Purpose::synthetic_data, 0};
    for (const auto& [n, levels] :
         {std::pair{1023, 5}, {1024, 5}, {1025, 5}, {2050, 8}, {9300, 4}, {2050, 40}})
        for (const int flavour : {0, 1, 4}) {
            SCOPED_TRACE(testing::Message() << n << " values, " << levels << " levels, flavour " << flavour);
            const auto v = random_sorted(stream, 0, n, flavour);
            const double spread = (static_cast<double>(v.back()) - v.front());
            const double expected = quadratic_cost(v, levels),
                         tolerance = kCostTolerance * spread * spread * n;
            EXPECT_NEAR(cost_of(v, points_of(v, levels)), expected, tolerance);
            EXPECT_NEAR(run_program(v, levels, false).cost, expected, tolerance);
            EXPECT_NEAR(run_program(v, levels, true).cost, expected, tolerance);
        }
}

// With 40 levels layers of more than 9216 positions begin behind the first value; the quadratic program would
// take long for so many.
TEST(SmartPoints, BoundsDoNotChangeTheCost) {
    const RandomStream stream{26, Purpose::synthetic_data, 0};
    for (const int flavour : {0, 2, 4}) {
        const auto v = random_sorted(stream, 0, 12000, flavour);
        const double spread = (static_cast<double>(v.back()) - v.front());
        EXPECT_NEAR(run_program(v, 40, false).cost, run_program(v, 40, true).cost,
                    kCostTolerance * spread * spread * 12000)
            << flavour;
    }
}

TEST(SmartPoints, BoundsSpareMostPositions) {
    auto v = gradient_like(512);
    std::sort(v.begin(), v.end());
    EXPECT_EQ(run_program(v, 16, true).looked_at, 14 * 512);
    EXPECT_LT(run_program(v, 16, false).looked_at, 14 * 512 * 2 / 5);
}

TEST(SmartPoints, FewDistinctValuesAreAllPoints) {
    const std::vector<float> v{-1e20f, -1e-20f, -1e-20f, 0.0f, 0.0f, 1e-20f, 2.0f, 2.0f, 1e20f};
    EXPECT_EQ(points_of(v, 16), (std::vector<float>{-1e20f, -1e-20f, 0.0f, 1e-20f, 2.0f, 1e20f}));
    EXPECT_EQ(points_of({3.0f, 3.0f, 3.0f}, 2), std::vector<float>{3.0f});
}

TEST(Smart, RoundsToTheNeighboursWithTheirProbabilities) {
    // A bucket of at most 512 elements is its own sample, so its points can be had here too.
    const auto x = gradient_like(500);
    auto sorted = x;
    std::sort(sorted.begin(), sorted.end());
    for (const std::int64_t levels : {2, 5, 16, 17, 100, 256}) {
        const auto points = points_of(sorted, levels);
        const CodecSettings settings = settings_of(CodecKind::smart, -1, levels);
        const Result result = run(settings, x, 4);
        const RoundingStream stream{settings.seed, Purpose::rounding, 4};
        double variance = 0;
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto above = std::upper_bound(points.begin(), points.end() - 1, x[i]);
            const double left = *(above - 1), right = *above;
            const bool up = (x[i] - left) + (right - left) * stream.uniform(i) >= right - left;
            ASSERT_EQ(result.values[i], static_cast<float>(up ? right : left)) << levels << " " << i;
            if (std::binary_search(points.begin(), points.end(), x[i])) {
                ASSERT_EQ(result.values[i], x[i]);
            }
            variance += (x[i] - left) * (right - x[i]);
        }
        // Products of scaled floats, at most eight of them added as such.
        EXPECT_NEAR(result.variance, variance, 1e-6 * variance);
    }
}

TEST(Smart, SamplesOnlyFromItsBucketAndKeepsTheEnds) {
    const auto x = gradient_like(6000);
    const Result result = run(settings_of(CodecKind::smart, 3000), x);
    for (const std::size_t begin : {std::size_t{0}, std::size_t{3000}}) {
        const auto first = x.begin() + static_cast<std::ptrdiff_t>(begin);
        const std::set<float> bucket(first, first + 3000);
        const auto got = result.values.begin() + static_cast<std::ptrdiff_t>(begin);
        for (auto value = got; value != got + 3000; ++value) ASSERT_TRUE(bucket.contains(*value));
        EXPECT_EQ(*std::max_element(got, got + 3000), *bucket.rbegin());
        EXPECT_EQ(*std::min_element(got, got + 3000), *bucket.begin());
    }
}

TEST(Smart, MoreCandidatesLowerTheVariance) {
    const auto x = gradient_like(100000);
    CodecSettings settings = settings_of(CodecKind::smart, -1);
    settings.smart_candidates_percent = 1;
    const double few = run(settings, x).variance;
    settings.smart_candidates_percent = 25;
    const double many = run(settings, x).variance;
    const double standard = run(settings_of(CodecKind::standard, -1), x).variance;
    EXPECT_LT(many, few);
    EXPECT_LT(few, standard);
}

TEST(Smart, CandidateCount) {
    EXPECT_EQ(Smart::candidate_count(100, 1), 100);
    EXPECT_EQ(Smart::candidate_count(513, 1), 512);
    EXPECT_EQ(Smart::candidate_count(51200, 1), 512);
    EXPECT_EQ(Smart::candidate_count(272474, 1), 2724);
    EXPECT_EQ(Smart::candidate_count(1000, 100), 1000);
}

TEST(Sort, SortsKeys) {
    const RandomStream stream{24, Purpose::synthetic_data, 0};
    for (const std::int64_t n : {1, 2, 100, 1000}) {
        for (const std::uint32_t bound : {3u, 70000u, 0xffffffffu}) {
            std::vector<std::uint32_t> keys(static_cast<std::size_t>(n)), spare(keys.size());
            for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = stream.below(i, bound);
            auto expected = keys;
            std::sort(expected.begin(), expected.end());
            SimdGroup::sort(keys.data(), spare.data(), n);
            EXPECT_EQ(keys, expected);
        }
    }
    for (const float x : {-1e30f, -1.0f, -1e-40f, 0.0f, 1e-40f, 2.5f})
        EXPECT_EQ(Smart::value_of(Smart::key_of(x)), x);
    EXPECT_EQ(Smart::key_of(-0.0f), Smart::key_of(0.0f));
    EXPECT_LT(Smart::key_of(-2.0f), Smart::key_of(-1.0f));
    EXPECT_LT(Smart::key_of(-1e-40f), Smart::key_of(0.0f));
}

}  // namespace
}  // namespace qstep::test

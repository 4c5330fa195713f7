// The solvers of `smart`: exact against sample and brute force, histogram within its bound of exact, both the
// same on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "codec_runner.h"
#include "quant/codec_options.h"
#include "quant/cpu/simd_group.h"
#include "quant/histogram.h"

namespace qstep::test {
namespace {

using quant::Smart;
using quant::SmartHistogram;
using quant::cpu::SimdGroup;

constexpr std::int64_t kCells = SmartHistogram::kCells;

CodecSettings solved_by(Solver solver, std::int64_t bucket_size, std::int64_t levels = 16) {
    CodecSettings settings = settings_of(CodecKind::smart, bucket_size, levels);
    settings.solver = solver;
    return settings;
}

template <typename Algorithm>
std::vector<float> points_of(const std::vector<float>& x, std::int64_t levels) {
    const auto n = static_cast<std::int64_t>(x.size());
    std::vector<double> scratch(static_cast<std::size_t>(
        std::max(Smart::scratch_bytes(n, levels), SmartHistogram::scratch_bytes(levels)) / 8 + 1));
    quant::FitContext context;
    context.parameters.levels = levels;
    context.candidates = n;
    context.scratch = scratch.data();
    SimdGroup group;
    Smart::Fit fit{};
    Algorithm::fit(group, fit, Smart::measure(group, x.data(), n), x.data(), n, context);
    return {fit.points, fit.points + fit.count};
}

/// The points around x.
std::pair<double, double> around(const std::vector<float>& points, float x) {
    if (points.size() == 1) return {points[0], points[0]};
    const auto right = std::upper_bound(points.begin() + 1, points.end() - 1, x);
    return {*(right - 1), *right};
}

double variance_of(const std::vector<float>& x, const std::vector<float>& points) {
    double variance = 0;
    for (const float value : x) {
        const auto [left, right] = around(points, value);
        variance += (value - left) * (right - value);
    }
    return variance;
}

/// The bound of quant/histogram.h. Candidates are at least as dense as their number spread evenly would be in
/// weights, of which a grid point has 1 to 1 + 2 log2(1 + n), and a few heavy ones more: so d is at most that
/// share of the grid.
double bound(const std::vector<float>& x, const std::vector<float>& best, const std::vector<float>& got,
             std::int64_t levels) {
    const double range = static_cast<double>(best.back()) - best.front();
    const double h = range / static_cast<double>(kCells - 1);
    using Weights = SmartHistogram::Weights;
    const double most = 1 + 2 * std::log2(1.0 + static_cast<double>(x.size())),
                 all = static_cast<double>(kCells) * most + Weights::kShare * Weights::kHeavy;
    const auto gaps = static_cast<double>(SmartHistogram::candidates_of(levels) - 1);
    const double apart = h * (all / gaps + 2);
    double sum = 0;
    for (const float value : x) {
        const auto [l, r] = around(best, value);
        const auto [l2, r2] = around(got, value);
        sum += h / 2 * ((r - l) + (r2 - l2));
    }
    for (std::size_t q = 1; q + 1 < best.size(); ++q)
        for (const float value : x)
            if (std::abs(static_cast<double>(value) - best[q]) <= apart)
                sum += apart * (static_cast<double>(best[q + 1]) - best[q - 1]) / 4;
    return sum;
}

std::vector<float> flavoured(std::int64_t n, int flavour) {
    const RandomStream stream{31, Purpose::synthetic_data, static_cast<std::uint32_t>(flavour)};
    auto x = gradient_like(n, 40 + static_cast<std::uint64_t>(flavour));
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (flavour == 1 && stream.uniform(i) < 0.9f) x[i] = 0.0f;                        // sparse
        if (flavour == 2) x[i] = 1000.0f + stream.uniform(i);                             // far from zero
        if (flavour == 3) x[i] = static_cast<float>(stream.below(i, 40)) - 3;             // few values
        if (flavour == 4) x[i] *= static_cast<float>(std::exp(6.0 * stream.uniform(i)));  // heavy tail
        if (flavour == 5) x[i] = (i % 2 == 0 ? -1.0f : 1.0f) + 1e-2f * x[i];              // two clusters
    }
    return x;
}

// The dynamic program's differences of sums in double, relative to n range^2.
constexpr double kRounding = 1e-12;

TEST(SmartSolvers, HistogramIsWithinItsBoundOfExact) {
    for (int flavour = 0; flavour < 6; ++flavour)
        for (const std::int64_t levels : {2, 3, 16, 255})
            for (const std::int64_t n : {2, 17, 1000, 20011}) {
                if (levels == 255 && n > 1000) continue;
                const auto x = flavoured(n, flavour);
                const auto exact = points_of<Smart>(x, levels),
                           counted = points_of<SmartHistogram>(x, levels);
                ASSERT_EQ(counted.front(), exact.front());
                ASSERT_EQ(counted.back(), exact.back());
                ASSERT_LE(static_cast<std::int64_t>(counted.size()), levels);
                ASSERT_TRUE(std::is_sorted(counted.begin(), counted.end()));
                const double least = variance_of(x, exact), got = variance_of(x, counted);
                const double range = static_cast<double>(exact.back()) - exact.front();
                const double slack = kRounding * range * range * static_cast<double>(n);
                EXPECT_GE(got, least - slack) << flavour << " " << levels << " " << n;
                EXPECT_LE(got, least + bound(x, exact, counted, levels) + slack)
                    << flavour << " " << levels << " " << n;
            }
}

TEST(SmartSolvers, HistogramIsCloseToExactOnAGradient) {
    // The goal on recorded gradients of ResNet-20; these are a little harder.
    constexpr double kWorst = 0.02;
    for (const int flavour : {0, 1, 4}) {
        const auto x = flavoured(51200, flavour);
        const double least = variance_of(x, points_of<Smart>(x, 16));
        EXPECT_LT(variance_of(x, points_of<SmartHistogram>(x, 16)), least * (1 + kWorst)) << flavour;
    }
}

TEST(SmartSolvers, HistogramKeepsZeroAPointOfSparseGradients) {
    const auto points = points_of<SmartHistogram>(flavoured(5000, 1), 8);
    EXPECT_NE(std::find(points.begin(), points.end(), 0.0f), points.end());
}

TEST(SmartSolvers, ExactIsNeverWorseThanASample) {
    const auto x = gradient_like(20000);
    for (const std::int64_t levels : {2, 5, 16, 40}) {
        CodecSettings sample = solved_by(Solver::sample, 7001, levels);
        const double sampled = run(sample, x).variance;
        const double exact = run(solved_by(Solver::exact, 7001, levels), x).variance;
        sample.smart_candidates_percent = 100;
        EXPECT_LE(exact, sampled);
        EXPECT_EQ(exact, run(sample, x).variance);
    }
}

// Then every candidate is a level, and none is chosen.
TEST(SmartSolvers, TheHistogramTakesAsManyLevelsAsCandidates) {
    const auto x = gradient_like(20000);
    const std::int64_t levels = SmartHistogram::kMostCandidates;
    using quant::cpu::Isa;
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
        if (!quant::cpu::supported(isa)) continue;
        const Result all = run(solved_by(Solver::histogram, -1, levels), x, 0, 2, isa);
        EXPECT_LE(std::set<float>(all.values.begin(), all.values.end()).size(),
                  static_cast<std::size_t>(levels));
        EXPECT_LE(all.variance, run(solved_by(Solver::histogram, -1, levels - 1), x, 0, 2, isa).variance);
    }
}

TEST(SmartSolvers, SameBitsForAllInstructionSetsAndThreads) {
    using quant::cpu::Isa;
    for (const Solver solver : {Solver::exact, Solver::histogram})
        for (const std::int64_t bucket : {1, 77, 512, 9000, -1})
            for (const std::int64_t levels : {4, 17}) {
                const auto x = gradient_like(18500);
                const Result expected = run(solved_by(solver, bucket, levels), x, 3, 1, Isa::baseline);
                for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
                    if (!quant::cpu::supported(isa)) continue;
                    const Result result = run(solved_by(solver, bucket, levels), x, 3, 3, isa, true);
                    EXPECT_TRUE(same_bits(result.values, expected.values)) << bucket << " " << levels;
                    EXPECT_EQ(result.variance, expected.variance);
                }
            }
}

TEST(SmartSolvers, EverySolverIsUnbiased) {
    // The mean of `kRuns` roundings is off by 5 of its standard deviations once in 1.7 million elements.
    constexpr int kRuns = 400;
    constexpr double kSigmas = 5.0;
    const auto x = gradient_like(3001);
    for (const Solver solver : {Solver::sample, Solver::exact, Solver::histogram}) {
        std::vector<double> sum(x.size());
        double total = 0, error = 0;
        for (int step = 0; step < kRuns; ++step) {
            const Result result = run(solved_by(solver, 1000), x, step);
            total += result.variance;
            for (std::size_t i = 0; i < x.size(); ++i) {
                sum[i] += static_cast<double>(result.values[i]) - x[i];
                error += (static_cast<double>(result.values[i]) - x[i]) *
                         (static_cast<double>(result.values[i]) - x[i]);
            }
        }
        double all = 0;
        for (const double deviation : sum) all += deviation;
        EXPECT_LT(std::abs(all), kSigmas * std::sqrt(total)) << name_of(solver);
        // Squared errors are what the variance says; a sum of 1.2 million terms of mixed sizes.
        constexpr double kSpread = 0.02;
        EXPECT_NEAR(error, total, kSpread * total) << name_of(solver);
    }
}

TEST(SmartSolvers, OddBuckets) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const Solver solver : {Solver::exact, Solver::histogram}) {
        EXPECT_EQ(run(solved_by(solver, -1), std::vector<float>(100, 0.0f)).variance, 0.0);
        EXPECT_EQ(run(solved_by(solver, 1), {3.0f, -0.0f, 1e-45f}).values,
                  (std::vector<float>{3.0f, 0.0f, 1e-45f}));
        EXPECT_TRUE(std::isnan(run(solved_by(solver, -1), {1.0f, kInfinity, 2.0f}).variance));
        const std::vector<float> wide{-std::numeric_limits<float>::max(), 1.0f,
                                      std::numeric_limits<float>::max()};
        EXPECT_TRUE(std::isfinite(run(solved_by(solver, -1), wide).variance));
        const std::vector<float> narrow{1.0f, 1.0f + 0x1p-23f, 1.0f, 1.0f + 0x1p-22f};
        EXPECT_EQ(run(solved_by(solver, -1), narrow).values, narrow);
        const std::vector<float> tiny{0.0f, 1e-45f, 3e-45f};
        EXPECT_EQ(run(solved_by(solver, -1), tiny).values, tiny);
    }
}

TEST(SmartSolvers, HaveNamesAndNeedSmart) {
    for (const Solver solver : {Solver::sample, Solver::exact, Solver::histogram})
        EXPECT_EQ(parse_solver(name_of(solver)), solver);
    EXPECT_THROW(parse_solver("histograms"), Error);
    EXPECT_NO_THROW(check_meaning({"solver"}, solved_by(Solver::exact, 512)));
    EXPECT_THROW(check_meaning({"solver"}, settings_of(CodecKind::standard)), Error);
    EXPECT_THROW(check_meaning({"smart-candidates"}, solved_by(Solver::exact, 512)), Error);
}

TEST(SmartSolvers, TooLargeAFitIsRefusedWithAWayOut) {
    Context context(Device{}, 1);
    try {
        quant::cpu::make(context, solved_by(Solver::exact, -1, 256), 100'000'000, quant::cpu::Isa::baseline);
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("--solver histogram"), std::string::npos);
    }
}

}  // namespace
}  // namespace qstep::test

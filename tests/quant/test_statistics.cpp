// Means and variances over many draws. Bounds are 5 standard deviations: one false alarm in 1.7 million.
#include <gtest/gtest.h>

#include <cmath>

#include "codec_runner.h"

namespace qstep::test {
namespace {

constexpr double kSigmas = 5.0;

struct Moments {
    std::vector<double> mean_error;  // of each element, over the steps
    double squared_error = 0;        // mean over the steps of the sum over elements
    double reported = 0;             // mean of the reported variance
};

Moments moments_of(const CodecSettings& settings, const std::vector<float>& x, int steps) {
    Moments moments{std::vector<double>(x.size(), 0.0), 0, 0};
    for (int step = 0; step < steps; ++step) {
        const Result result = run(settings, x, step, 1);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double error = static_cast<double>(result.values[i]) - x[i];
            moments.mean_error[i] += error / steps;
            moments.squared_error += error * error / steps;
        }
        moments.reported += result.variance / steps;
    }
    return moments;
}

class Statistics : public testing::TestWithParam<std::tuple<Codec, std::int64_t>> {};

TEST_P(Statistics, UnbiasedWithTheReportedVariance) {
    const auto [kind, bucket] = GetParam();
    // Two full buckets and a tail; at least 10^6 draws in all.
    const std::int64_t n = 2 * bucket + bucket / 3 + 1;
    const int steps = static_cast<int>(std::max<std::int64_t>(400, 1000000 / n + 1));
    // 64 levels put exponential's smallest magnitude below every element.
    const CodecSettings settings = settings_of(kind, bucket, kind == CodecKind::exponential ? 64 : 8);
    const auto x = gradient_like(n);
    const Moments moments = moments_of(settings, x, steps);

    // The sum of all errors has the reported variance a step, whichever the codec (for hadamard: of the
    // padded vector, so no less than that of the rest).
    double total = 0, weighted = 0, weights = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        total += moments.mean_error[i];
        weighted += moments.mean_error[i] * x[i];
        weights += static_cast<double>(x[i]) * x[i];
    }
    // Beside chance: level values are rounded to float, 2^-24 of themselves, all in one direction at worst.
    constexpr double kFloatRounding = 0x1p-24;
    double magnitudes = 0;
    for (const float value : x) magnitudes += std::fabs(value);
    EXPECT_LE(std::fabs(total),
              kSigmas * std::sqrt(moments.reported / steps) + 2 * kFloatRounding * magnitudes);
    EXPECT_LE(std::fabs(weighted),
              kSigmas * std::sqrt(weights * moments.reported / steps) + 2 * kFloatRounding * weights);
    // Fewer elements than levels: smart rounds nothing.
    if (kind == CodecKind::smart && bucket <= settings.levels) {
        EXPECT_EQ(moments.reported, 0.0);
        EXPECT_EQ(moments.squared_error, 0.0);
        return;
    }
    // Rounding errors are bounded by the levels' gaps, so the mean of their squares settles within some
    // percent.
    const double tolerance = 0.03;
    if (kind == CodecKind::hadamard)
        EXPECT_LE(moments.squared_error, moments.reported * (1 + tolerance));
    else
        EXPECT_NEAR(moments.squared_error / moments.reported, 1.0, tolerance);
}

INSTANTIATE_TEST_SUITE_P(Codecs, Statistics,
                         testing::Combine(testing::ValuesIn(without(kLossyCodecs, {CodecKind::sign})),
                                          testing::Values(3, 64, 513, 8200)),
                         [](const auto& info) {
                             return name_of(std::get<0>(info.param)) + "_" +
                                    std::to_string(std::get<1>(info.param));
                         });

TEST(Statistics, EachElementIsUnbiased) {
    const std::int64_t n = 37;
    const int steps = 30000;
    // No element so near a level that its other neighbour is hardly ever drawn.
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
        x[static_cast<std::size_t>(i)] = 1e-3f * static_cast<float>(i % 2 == 0 ? i + 3 : -i - 3.5);
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::exponential, CodecKind::sign})) {
        const CodecSettings settings = settings_of(kind, -1, 4);
        std::vector<double> sum(x.size(), 0), squares(x.size(), 0);
        for (int step = 0; step < steps; ++step) {
            const Result result = run(settings, x, step, 1);
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double error = static_cast<double>(result.values[i]) - x[i];
                sum[i] += error;
                squares[i] += error * error;
            }
        }
        // Levels are floats: a value next to one carries its rounding.
        for (std::size_t i = 0; i < x.size(); ++i)
            EXPECT_LE(std::fabs(sum[i]) / steps, kSigmas * std::sqrt(squares[i]) / steps + 1e-9)
                << name_of(kind) << i;
    }
}

TEST(Statistics, HadamardWithoutPaddingHasTheReportedVariance) {
    const auto x = gradient_like(512);
    const Moments moments = moments_of(settings_of(CodecKind::hadamard, 512, 8), x, 3000);
    EXPECT_NEAR(moments.squared_error / moments.reported, 1.0, 0.02);
}

TEST(Statistics, NearestIsNeverFartherThanHalfAStep) {
    const auto x = gradient_like(1000);
    CodecSettings settings = settings_of(CodecKind::standard, -1, 16);
    settings.rounding = Rounding::nearest;
    const Result result = run(settings, x);
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    const double half = (static_cast<double>(*high) - *low) / 15 / 2;
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_LE(std::fabs(static_cast<double>(result.values[i]) - x[i]), half * (1 + 1e-6));
}

}  // namespace
}  // namespace qstep::test

// The documented answers for odd buckets.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codec_runner.h"

namespace qstep::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

// The nudges above 1/u and 1/N leave at most this share of an element's square as its variance.
constexpr double kNudge = 1e-12;

TEST(EdgeCases, ConstantBucketStays) {
    for (const Codec& kind : {Codec(CodecKind::standard), Codec(CodecKind::standard, Points::random),
                              Codec(CodecKind::smart), Codec(CodecKind::qsgd, Norm::max),
                              Codec(CodecKind::terngrad), Codec(CodecKind::sign), Codec(CodecKind::dorefa)})
        for (const float value : {0.25f, -3e-7f, kLargest, -kLargest, kDenormal}) {
            const std::vector<float> x(700, value);
            const Result result = run(settings_of(kind), x);
            EXPECT_TRUE(same_bits(result.values, x)) << name_of(kind) << " " << value;
            EXPECT_LE(result.variance, kNudge * static_cast<double>(value) * value * 700) << name_of(kind);
        }
}

TEST(EdgeCases, AllZeroBucketIsPlusZero) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : {512, 9000}) {
            std::vector<float> x(9100, 0.0f);
            for (std::size_t i = 0; i < x.size(); i += 3) x[i] = -0.0f;
            const Result result = run(settings_of(kind, bucket), x);
            EXPECT_TRUE(same_bits(result.values, std::vector<float>(x.size(), 0.0f))) << name_of(kind);
            EXPECT_EQ(result.variance, 0.0);
        }
}

// Those whose levels follow the bucket.
const std::vector<Codec> kOwnLevels = without(kLossyCodecs, {CodecKind::natural, CodecKind::fixed});

TEST(EdgeCases, SingleElementIsItself) {
    for (const Codec& kind : kOwnLevels)
        for (const float value : {1.0f, -0.3f, 3.1e-39f, kLargest, -kDenormal, 1e-30f})
            for (std::int64_t step = 0; step < 20; ++step) {
                const Result result = run(settings_of(kind), {value}, step);
                ASSERT_EQ(result.values[0], value) << name_of(kind);
                ASSERT_LE(result.variance, kNudge * static_cast<double>(value) * value) << name_of(kind);
            }
}

TEST(EdgeCases, BucketsOfOneElementAreTheIdentity) {
    const auto x = gradient_like(1000);
    for (const Codec& kind : kOwnLevels) EXPECT_EQ(run(settings_of(kind, 1), x).values, x) << name_of(kind);
}

TEST(EdgeCases, TailShorterThanTheLevels) {
    const auto x = gradient_like(512 + 3);
    const Result standard = run(settings_of(CodecKind::standard), x);
    const auto [low, high] = std::minmax_element(x.begin() + 512, x.end());
    EXPECT_EQ(standard.values[static_cast<std::size_t>(low - x.begin())], *low);
    EXPECT_EQ(standard.values[static_cast<std::size_t>(high - x.begin())], *high);
    const Result smart = run(settings_of(CodecKind::smart), x);
    for (std::size_t i = 512; i < x.size(); ++i) EXPECT_EQ(smart.values[i], x[i]);
}

TEST(EdgeCases, StandardHitsBothEndsAndStaysInside) {
    const std::vector<std::pair<float, float>> ranges{{-kLargest, kLargest}, {0.0f, kDenormal},
                                                      {1.0f, 1.0000001f},    {-1e38f, 1e-38f},
                                                      {-kDenormal, 3e38f},   {-1.0f, 0.1f}};
    for (const auto& [low, high] : ranges)
        for (const std::int64_t levels : {2, 3, 16, 65536}) {
            std::vector<float> x(4096);
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double share = static_cast<double>(i) / 4095;
                x[i] = i % 3 == 0   ? low
                       : i % 3 == 1 ? high
                                    : static_cast<float>(low * (1 - share) + high * share);
            }
            const Result result = run(settings_of(CodecKind::standard, -1, levels), x);
            for (std::size_t i = 0; i < x.size(); ++i) {
                if (i % 3 < 2) {
                    ASSERT_EQ(result.values[i], x[i]) << low << " " << high << " " << levels;
                }
                ASSERT_GE(result.values[i], low);
                ASSERT_LE(result.values[i], high);
            }
            ASSERT_TRUE(std::isfinite(result.variance));
        }
}

TEST(EdgeCases, HugeAndTinyValuesStayFinite) {
    for (const Codec& kind : kLossyCodecs)
        for (const float scale : {kLargest, 1e-38f, 1e-44f})
            for (const std::int64_t bucket : {512, 8192, 9000}) {
                std::vector<float> x = gradient_like(9000);
                float largest = 0;
                for (const float v : x) largest = std::max(largest, std::fabs(v));
                for (float& v : x) v = static_cast<float>(v / static_cast<double>(largest) * scale);
                const Result result = run(settings_of(kind, bucket), x);
                for (const float v : result.values)
                    ASSERT_TRUE(std::isfinite(v)) << name_of(kind) << " " << scale;
                ASSERT_TRUE(std::isfinite(result.variance)) << name_of(kind) << " " << scale;
            }
}

TEST(EdgeCases, ANumberThatIsNotFiniteSpoilsItsBucketOnly) {
    for (const Codec& kind : kLossyCodecs)
        for (const float bad : {kInfinity, -kInfinity, kNan})
            for (const std::int64_t bucket : {512, 10000})
                for (const std::int64_t place : {std::int64_t{0}, std::int64_t{17}, bucket - 1}) {
                    std::vector<float> x = gradient_like(2 * bucket + 5);
                    x[static_cast<std::size_t>(bucket + place)] = bad;
                    const Result result = run(settings_of(kind, bucket), x);
                    ASSERT_TRUE(std::isnan(result.variance)) << name_of(kind);
                    for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); ++i)
                        ASSERT_EQ(std::isnan(result.values[static_cast<std::size_t>(i)]), i / bucket == 1)
                            << name_of(kind) << " " << bad << " " << i;
                }
    std::vector<float> x = gradient_like(20000);
    x[12345] = kInfinity;
    const Result none = run(settings_of(CodecKind::none), x);
    EXPECT_TRUE(same_bits(none.values, x));
    EXPECT_TRUE(std::isnan(none.variance));
}

TEST(EdgeCases, ZerosOfExponentialTakeTheSmallestMagnitudeWithARandomSign) {
    std::vector<float> x(20000, 0.0f);
    x[0] = 1.0f;
    CodecSettings settings = settings_of(CodecKind::exponential, -1);
    const Result result = run(settings, x);
    std::int64_t negative = 0;
    for (std::size_t i = 1; i < x.size(); ++i) {
        ASSERT_EQ(std::fabs(result.values[i]), 0x1p-7f);
        negative += std::signbit(result.values[i]);
    }
    // 5 sigma of a fair coin thrown 19,999 times.
    EXPECT_NEAR(static_cast<double>(negative), 19999 / 2.0, 5 * std::sqrt(19999) / 2);
    EXPECT_EQ(result.values[0], 1.0f);
    settings.rounding = Rounding::nearest;
    EXPECT_EQ(run(settings, x).values[5], 0x1p-7f);
}

TEST(FirstNonFinite, FindsTheLowestIndex) {
    Context context(Device{}, 2);
    for (const std::int64_t n : {1, 16, 17, 8192, 8193, 100001}) {
        std::vector<float> x(static_cast<std::size_t>(n), 1.0f);
        const Tensor tensor{x.data(), DType::f32, {n}};
        EXPECT_EQ(first_non_finite(context, tensor), -1);
        for (const float bad : {kNan, kInfinity, -kInfinity}) {
            x.assign(x.size(), kLargest);
            x[static_cast<std::size_t>(n - 1)] = bad;
            EXPECT_EQ(first_non_finite(context, tensor), n - 1);
            x[static_cast<std::size_t>(n / 2)] = bad;
            EXPECT_EQ(first_non_finite(context, tensor), n / 2);
            x[0] = bad;
            EXPECT_EQ(first_non_finite(context, tensor), 0);
        }
    }
}

}  // namespace
}  // namespace qstep::test

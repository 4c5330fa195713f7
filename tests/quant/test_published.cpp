// The published codecs against their formulas in long double, element by element, and on vectors made by
// hand.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "codec_runner.h"

namespace qstep::test {
namespace {

using Wide = long double;

/// A level below or at an element, the next one, and the probability of the latter.
struct Neighbours {
    Wide left, right, share;
};

Neighbours around(Wide x, Wide level, Wide step) {
    return {level, level + step, (x - level) / step};
}

/// The levels next to x on a grid of so many steps from `low` on.
Neighbours on_grid(Wide x, Wide low, Wide step) {
    return around(x, low + step * std::floor((x - low) / step), step);
}

Wide norm_of(const CodecSettings& settings, const float* x, std::int64_t n) {
    Wide squares = 0, largest = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        squares += static_cast<Wide>(x[i]) * x[i];
        largest = std::max(largest, std::fabs(static_cast<Wide>(x[i])));
    }
    return settings.kind == CodecKind::qsgd && settings.qsgd_norm == Norm::l2 ? std::sqrt(squares) : largest;
}

/// For the magnitude of x where the codec rounds magnitudes, else for x itself.
Neighbours neighbours(const CodecSettings& settings, Wide x, Wide norm) {
    switch (settings.kind) {
        case CodecKind::qsgd:
            return on_grid(std::fabs(x), 0, norm / static_cast<Wide>((settings.levels - 1) / 2));
        case CodecKind::terngrad:
            return on_grid(std::fabs(x), 0, norm);
        case CodecKind::natural: {
            const Wide power = std::exp2(std::floor(std::log2(std::fabs(x))));
            return around(std::fabs(x), power, power);
        }
        case CodecKind::dorefa:
            return on_grid(x, -norm, 2 * norm / static_cast<Wide>(settings.levels - 1));
        default:
            return on_grid(x, 0, std::ldexp(1.0L, static_cast<int>(-settings.fixed_fl)));
    }
}

bool rounds_magnitudes(CodecKind kind) {
    return kind == CodecKind::qsgd || kind == CodecKind::terngrad || kind == CodecKind::natural;
}

TEST(Published, CodecsAreTheirFormulas) {
    const std::int64_t n = 5003, bucket = 700, step = 9;
    const auto x = gradient_like(n);
    for (const Codec& codec :
         {Codec(CodecKind::qsgd), Codec(CodecKind::qsgd, Norm::max), Codec(CodecKind::terngrad),
          Codec(CodecKind::natural), Codec(CodecKind::dorefa), Codec(CodecKind::fixed)})
        for (const std::int64_t levels : {4, 15, 16}) {
            const CodecSettings settings = settings_of(codec, bucket, levels);
            const Result result = run(settings, x, step);
            const RoundingStream stream{settings.seed, Purpose::rounding, step};
            Wide variance = 0;
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int64_t begin = i / bucket * bucket;
                const Wide norm = norm_of(settings, x.data() + begin, std::min(bucket, n - begin));
                const Wide value = x[static_cast<std::size_t>(i)];
                const Neighbours next = neighbours(settings, value, norm);
                // One bit less decides for natural, whose probabilities have 23.
                const int bits = codec == CodecKind::natural ? 23 : 24;
                const Wide drawn = std::ldexp(
                    static_cast<Wide>(stream.bits(static_cast<std::uint64_t>(i)) >> (32 - bits)), -bits);
                Wide wanted = next.share + drawn >= 1 ? next.right : next.left;
                if (rounds_magnitudes(codec.kind) && value < 0) wanted = -wanted;
                const float got = result.values[static_cast<std::size_t>(i)];
                // A float's rounding; beside zero, that of the reference's own.
                const double tolerance = 0x1p-23 * std::fabs(got) + 1e-18 * static_cast<double>(norm);
                ASSERT_NEAR(got, static_cast<double>(wanted), tolerance)
                    << name_of(codec) << " " << levels << " " << i;
                const Wide gap = next.right - next.left;
                variance += gap * gap * next.share * (1 - next.share);
            }
            // Double sums of 5003 terms in another order.
            EXPECT_NEAR(result.variance, static_cast<double>(variance), 1e-11 * static_cast<double>(variance))
                << name_of(codec);
        }
}

TEST(Published, QsgdHasZeroAndAsManyMagnitudesAsFit) {
    std::vector<float> x(2001);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) / 1000.0f - 1.0f;
    for (const auto& [levels, values] : {std::pair{3, 3}, {4, 3}, {5, 5}, {16, 15}}) {
        const Result result = run(settings_of({CodecKind::qsgd, Norm::max}, -1, levels), x);
        const std::set<float> distinct(result.values.begin(), result.values.end());
        EXPECT_EQ(distinct.size(), static_cast<std::size_t>(values)) << levels;
        EXPECT_TRUE(distinct.contains(0.0f));
        for (const float value : distinct) EXPECT_TRUE(distinct.contains(-value));
    }
    // ||(3, 4)|| = 5 and s = 5: both lie on levels.
    for (std::int64_t step = 0; step < 50; ++step)
        ASSERT_EQ(run(settings_of(CodecKind::qsgd, -1, 11), {3.0f, -4.0f, 0.0f, -0.0f}, step).values,
                  (std::vector<float>{3.0f, -4.0f, 0.0f, 0.0f}));
}

TEST(Published, TernGradHasThreeValues) {
    std::set<float> seen;
    for (std::int64_t step = 0; step < 200; ++step) {
        const Result result = run(settings_of(CodecKind::terngrad), {3.0f, -1.0f, 0.0f, -3.0f}, step);
        EXPECT_EQ(result.values[0], 3.0f);
        EXPECT_EQ(result.values[2], 0.0f);
        EXPECT_EQ(result.values[3], -3.0f);
        seen.insert(result.values[1]);
        // (1 - 0)(3 - 1), and the nudge above 1/N.
        EXPECT_NEAR(result.variance, 2.0, 1e-12);
    }
    EXPECT_EQ(seen, (std::set<float>{-3.0f, 0.0f}));
}

TEST(Published, SignIsTheMeanMagnitudeWithASign) {
    const CodecSettings settings = settings_of(CodecKind::sign, 5);
    const Result result = run(settings, {1.0f, -2.0f, 3.0f, -6.0f, -0.0f, 0.5f, -0.25f, 0.0f});
    EXPECT_EQ(result.values, (std::vector<float>{2.4f, -2.4f, 2.4f, -2.4f, 2.4f, 0.25f, -0.25f, 0.25f}));
    // The squared error: 1.4^2 + .4^2 + .6^2 + 3.6^2 + 2.4^2 and .25^2 + 0 + .25^2.
    EXPECT_NEAR(result.variance, 21.2 + 0.125, 1e-6);
    double error = 0;
    const auto x = gradient_like(3000);
    const Result many = run(settings_of(CodecKind::sign, 700), x);
    for (std::size_t i = 0; i < x.size(); ++i)
        error += (static_cast<double>(x[i]) - many.values[i]) * (static_cast<double>(x[i]) - many.values[i]);
    // The mean is rounded to a float once a bucket.
    EXPECT_NEAR(many.variance, error, 1e-9 * error);
    EXPECT_TRUE(same_bits(many.values, run(settings_of(CodecKind::sign, 700), x, 5).values));
}

TEST(Published, NaturalKnowsTheEndsOfFloat) {
    const float smallest = 0x1p-126f, largest = std::numeric_limits<float>::max();
    const std::vector<float> x{1.0f,      -0.25f,    1.5f,       0.0f,     -0.0f,       smallest,
                               0x1p-149f, 0x1p-127f, -0x1p-127f, 0x1p127f, -0x1.8p127f, largest};
    const CodecSettings settings = settings_of(CodecKind::natural, -1);
    std::vector<std::set<float>> seen(x.size());
    double variance = 0;
    for (std::int64_t step = 0; step < 400; ++step) {
        const Result result = run(settings, x, step);
        variance = result.variance;
        for (std::size_t i = 0; i < x.size(); ++i) {
            seen[i].insert(result.values[i]);
            ASSERT_FALSE(result.values[i] == 0.0f && std::signbit(result.values[i])) << x[i];
        }
    }
    const std::vector<std::set<float>> wanted{
        {1.0f}, {-0.25f},         {1.0f, 2.0f},      {0.0f},     {0.0f},      {smallest},
        {0.0f}, {0.0f, smallest}, {-smallest, 0.0f}, {0x1p127f}, {-0x1p127f}, {0x1p127f}};
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(seen[i], wanted[i]) << x[i];
    // Of 1.5 alone: nothing can be seen of 2^-254, and beyond 2^127 nothing is counted.
    EXPECT_EQ(variance, 0.25);
    const Result small = run(settings, {0x1p-127f});
    EXPECT_EQ(small.variance, 0x1p-254);
}

TEST(Published, NearestTakesTheNearerPowerUpwardsFromHalfWay) {
    CodecSettings settings = settings_of(CodecKind::natural, -1);
    settings.rounding = Rounding::nearest;
    EXPECT_EQ(run(settings, {1.49f, 1.5f, -1.51f, -3.0f, 5.9f}).values,
              (std::vector<float>{1.0f, 2.0f, -2.0f, -4.0f, 4.0f}));
}

TEST(Published, DorefaHasNoZeroAmongAnEvenNumberOfLevels) {
    std::set<float> seen;
    for (std::int64_t step = 0; step < 100; ++step) {
        const Result result = run(settings_of(CodecKind::dorefa, -1, 4), {3.0f, -3.0f, 0.0f, 1.0f}, step);
        EXPECT_EQ(result.values[0], 3.0f);
        EXPECT_EQ(result.values[1], -3.0f);
        EXPECT_EQ(result.values[3], 1.0f);
        seen.insert(result.values[2]);
        EXPECT_NEAR(result.variance, 1.0, 1e-12);
    }
    EXPECT_EQ(seen, (std::set<float>{-1.0f, 1.0f}));
    for (std::int64_t step = 0; step < 20; ++step)
        EXPECT_EQ(run(settings_of(CodecKind::dorefa, -1, 3), {3.0f, 0.0f}, step).values[1], 0.0f);
}

TEST(Published, FixedSaturates) {
    CodecSettings settings = settings_of(CodecKind::fixed);
    settings.fixed_il = 2;
    settings.fixed_fl = 1;
    const std::vector<float> x{5.0f, -5.0f, 1.5f, -2.0f, 0.5f, -0.5f, 0.0f, -0.0f, 1.75f, 1e30f, -1e30f};
    const std::vector<float> wanted{1.5f, -2.0f, 1.5f, -2.0f, 0.5f, -0.5f, 0.0f, 0.0f, 1.5f, 1.5f, -2.0f};
    for (std::int64_t step = 0; step < 20; ++step) {
        const Result result = run(settings, x, step);
        ASSERT_TRUE(same_bits(result.values, wanted));
        ASSERT_EQ(result.variance, 0.0);
    }
    settings.rounding = Rounding::nearest;
    EXPECT_EQ(run(settings, {0.24f, 0.25f, -0.25f, -0.26f, 1.3f}).values,
              (std::vector<float>{0.0f, 0.5f, 0.0f, -0.5f, 1.5f}));
    settings.fixed_il = 16;
    settings.fixed_fl = 0;
    EXPECT_EQ(run(settings, {40000.0f, -40000.0f, 7.0f}).values,
              (std::vector<float>{32767.0f, -32768.0f, 7.0f}));
    settings.fixed_il = 1;
    settings.fixed_fl = 15;
    EXPECT_EQ(run(settings, {1.0f, -1.0f, 0x1p-15f}).values,
              (std::vector<float>{1.0f - 0x1p-15f, -1.0f, 0x1p-15f}));
}

TEST(Published, RandomPointsAreThoseDrawn) {
    const std::int64_t bucket = 9000, n = 2 * bucket + 40, levels = 8, step = 6;
    const auto x = gradient_like(n);
    const CodecSettings settings = settings_of({CodecKind::standard, Points::random}, bucket, levels);
    const Result result = run(settings, x, step);
    const RandomStream stream{settings.seed, Purpose::points, step};
    for (std::int64_t b = 0; b * bucket < n; ++b) {
        const auto begin = b * bucket, end = std::min(n, begin + bucket);
        const auto [low, high] = std::minmax_element(x.begin() + begin, x.begin() + end);
        std::set<float> points{*low, *high};
        for (std::int64_t i = 0; i < levels - 2; ++i) {
            const double share = stream.uniform(static_cast<std::uint64_t>(b * levels + i));
            points.insert(static_cast<float>(*low + (static_cast<double>(*high) - *low) * share));
        }
        double spread = 0;
        for (std::int64_t i = begin; i < end; ++i) {
            const float value = x[static_cast<std::size_t>(i)],
                        got = result.values[static_cast<std::size_t>(i)];
            const auto right = points.lower_bound(value);
            ASSERT_NE(right, points.end());
            if (*right == value) {
                ASSERT_EQ(got, value);
                continue;
            }
            const float left = *std::prev(right);
            ASSERT_TRUE(got == left || got == *right) << i;
            spread += (static_cast<double>(value) - left) * (static_cast<double>(*right) - value);
        }
        if (b == 0) {
            const std::vector<float> first(x.begin(), x.begin() + bucket);
            // Products of scaled floats, at most eight of them added as such.
            EXPECT_NEAR(run(settings, first, step).variance, spread, 1e-6 * spread);
        }
    }
    EXPECT_FALSE(same_bits(result.values, run(settings, x, step + 1).values));
}

}  // namespace
}  // namespace qstep::test

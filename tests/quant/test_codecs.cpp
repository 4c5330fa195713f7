// What every codec promises, whatever its formula: few values, the same bits however it is run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "codec_runner.h"
#include "engine/backend.h"
#include "quant/group.h"
#include "quant/parameters.h"

namespace qstep::test {
namespace {

// Covers one element, a short tail, an exact fit, several waves of long buckets, and unaligned beginnings.
const std::vector<std::int64_t> kBucketSizes{1, 2, 3, 511, 512, 513, 8192, 8193, 51200, -1};
const std::vector<std::int64_t> kCounts{1, 2, 7, 512, 1025, 20000, 120007};

TEST(Codecs, NoneIsTheIdentity) {
    const auto x = gradient_like(20001);
    const Result result = run(settings_of(CodecKind::none), x);
    EXPECT_TRUE(same_bits(result.values, x));
    EXPECT_EQ(result.variance, 0.0);
}

TEST(Codecs, SameBitsForOneThreadAndTwo) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : kBucketSizes)
            for (const std::int64_t n : kCounts) {
                const auto x = gradient_like(n);
                const Result one = run(settings_of(kind, bucket), x, 3, 1),
                             two = run(settings_of(kind, bucket), x, 3, 2);
                ASSERT_TRUE(same_bits(one.values, two.values)) << name_of(kind) << " " << bucket << " " << n;
                ASSERT_EQ(one.variance, two.variance) << name_of(kind) << " " << bucket << " " << n;
            }
}

class InstructionSets : public testing::TestWithParam<quant::cpu::Isa> {};

TEST_P(InstructionSets, GiveTheBitsOfTheBaseline) {
    using quant::cpu::Isa;
    const Isa isa = GetParam();
    if (!quant::cpu::supported(isa)) GTEST_SKIP() << "this processor has no such instructions";
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : kBucketSizes)
            for (const std::int64_t levels : {2, 16, 64})
                for (const std::int64_t n : {std::int64_t{7}, std::int64_t{30001}}) {
                    const auto x = gradient_like(n);
                    const auto settings = settings_of(kind, bucket, levels);
                    const Result baseline = run(settings, x, 3, 2, Isa::baseline),
                                 other = run(settings, x, 3, 2, isa);
                    ASSERT_TRUE(same_bits(baseline.values, other.values))
                        << name_of(kind) << " " << bucket << " " << n << " isa " << static_cast<int>(isa);
                    ASSERT_EQ(baseline.variance, other.variance);
                }
}

INSTANTIATE_TEST_SUITE_P(Codecs, InstructionSets,
                         testing::Values(quant::cpu::Isa::avx2, quant::cpu::Isa::avx512),
                         [](const auto& info) {
                             return info.param == quant::cpu::Isa::avx2 ? "avx2" : "avx512";
                         });

TEST(Codecs, InPlaceIsTheSame) {
    for (const Codec& kind : all_codecs())
        for (const std::int64_t bucket : kBucketSizes) {
            const auto x = gradient_like(20011);
            const auto settings = settings_of(kind, bucket);
            const Result apart = run(settings, x),
                         in_place = run(settings, x, 0, 2, quant::cpu::best_isa(), true);
            ASSERT_TRUE(same_bits(apart.values, in_place.values)) << name_of(kind) << " " << bucket;
            ASSERT_EQ(apart.variance, in_place.variance);
        }
}

TEST(Codecs, DrawsHangOnSeedAndStepAlone) {
    const auto x = gradient_like(5000);
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::sign})) {
        CodecSettings settings = settings_of(kind);
        const Result first = run(settings, x, 5);
        EXPECT_TRUE(same_bits(first.values, run(settings, x, 5).values));
        EXPECT_FALSE(same_bits(first.values, run(settings, x, 6).values)) << name_of(kind);
        settings.seed = 8;
        EXPECT_FALSE(same_bits(first.values, run(settings, x, 5).values)) << name_of(kind);
    }
}

TEST(Codecs, NearestDoesNotDrawButReportsTheSameVariance) {
    const auto x = gradient_like(5000);
    // What fits or rotates at random changes from step to step all the same.
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::smart, CodecKind::hadamard})) {
        if (kind.points == Points::random) continue;
        CodecSettings settings = settings_of(kind);
        const Result stochastic = run(settings, x, 5);
        settings.rounding = Rounding::nearest;
        const Result nearest = run(settings, x, 5);
        EXPECT_TRUE(same_bits(nearest.values, run(settings, x, 6).values));
        EXPECT_EQ(nearest.variance, stochastic.variance);
    }
}

TEST(Codecs, AtMostKValuesABucket) {
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::hadamard}))
        for (const std::int64_t bucket : {std::int64_t{512}, std::int64_t{513}, std::int64_t{20000}})
            for (const std::int64_t levels : {2, 4, 16, 64}) {
                const auto x = gradient_like(40003);
                const CodecSettings settings = settings_of(kind, bucket, levels);
                const Result result = run(settings, x);
                const std::int64_t codes = quant::parameters_of(settings).levels;
                ASSERT_LE(codes, takes_levels(settings.kind) ? settings.levels : 65536);
                for (std::size_t begin = 0; begin < x.size(); begin += static_cast<std::size_t>(bucket)) {
                    const auto end = std::min(x.size(), begin + static_cast<std::size_t>(bucket));
                    const std::set<float> values(result.values.begin() + static_cast<std::ptrdiff_t>(begin),
                                                 result.values.begin() + static_cast<std::ptrdiff_t>(end));
                    ASSERT_LE(static_cast<std::int64_t>(values.size()), codes)
                        << name_of(kind) << " " << bucket;
                }
            }
}

/// How many values the n results from `begin` on have in the rotated basis, by an independent transform.
int distinct_rotated(const Result& result, const CodecSettings& settings, std::uint32_t step,
                     std::int64_t begin, std::int64_t n) {
    const quant::Signs signs{{settings.seed, Purpose::rotation, step}, static_cast<std::uint64_t>(begin)};
    std::vector<double> rotated(static_cast<std::size_t>(n), 0.0);
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
            const int parity =
                std::popcount(static_cast<std::uint64_t>(i & j)) + static_cast<int>(signs.sign(j) >> 31);
            const float value = result.values[static_cast<std::size_t>(begin + j)];
            rotated[static_cast<std::size_t>(i)] += parity % 2 ? -value : value;
        }
    std::sort(rotated.begin(), rotated.end());
    // Float rounding of the two transforms; levels lie a seventh of the range apart.
    const double tolerance = 1e-4 * (rotated.back() - rotated.front());
    int distinct = 1;
    for (std::size_t i = 1; i < rotated.size(); ++i) distinct += rotated[i] - rotated[i - 1] > tolerance;
    return distinct;
}

TEST(Codecs, RotatedHadamardBucketHasAtMostKValues) {
    // Also the short last bucket, which is padded to a power of two of its own: here to itself.
    for (const auto& [bucket, tail] : {std::pair<std::int64_t, std::int64_t>{256, 64}, {16384, 256}}) {
        const CodecSettings settings = settings_of(CodecKind::hadamard, bucket, 8);
        const Result result = run(settings, gradient_like(bucket + tail), 3);
        const int in_tail = distinct_rotated(result, settings, 3, bucket, tail);
        EXPECT_LE(in_tail, 8) << bucket;
        EXPECT_GE(in_tail, 3) << bucket;
        if (bucket == 256) {
            EXPECT_LE(distinct_rotated(result, settings, 3, 0, bucket), 8);
        }
    }
}

TEST(Codecs, SameBitsPastTheCaches) {
    // More than the caches hold goes to another array without being read into them; in place nothing does.
    const auto cache = static_cast<std::int64_t>(backend(Device{}).cache_bytes());
    if (cache == 0) GTEST_SKIP() << "nobody knows how much the caches hold, so nothing goes past them";
    if (cache > (std::int64_t{1} << 27))
        GTEST_SKIP() << "caches of " << cache << " bytes: this would take too long";
    const auto part = gradient_like(100003);
    std::vector<float> x(static_cast<std::size_t>(cache / 8 + 1001));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = part[i % part.size()];
    for (const Codec& kind : {Codec(CodecKind::standard), Codec(CodecKind::smart), Codec(CodecKind::hadamard),
                              Codec(CodecKind::exponential)})
        for (const std::int64_t bucket : {511, 51200}) {
            if (kind == CodecKind::smart && bucket == 511) continue;  // Slow, and no other way to store.
            const CodecSettings settings = settings_of(kind, bucket);
            const Result there = run(settings, x),
                         here = run(settings, x, 0, 2, quant::cpu::best_isa(), true);
            EXPECT_TRUE(same_bits(there.values, here.values)) << name_of(kind) << " " << bucket;
            EXPECT_EQ(there.variance, here.variance) << name_of(kind) << " " << bucket;
        }
}

TEST(Standard, MatchesTheFormulaElementByElement) {
    const std::int64_t n = 3000, bucket = 1000;
    const auto x = gradient_like(n);
    for (const std::int64_t levels : {2, 16, 256, 4096}) {
        const CodecSettings settings = settings_of(CodecKind::standard, bucket, levels);
        const Result result = run(settings, x, 9);
        const RoundingStream stream{settings.seed, Purpose::rounding, 9};
        // What quant/standard.h states: of the position relative to (x - min) / u and absolutely, and of a
        // value relative to max - min.
        const double fraction_bits = levels <= 256 ? 23 : 19;
        const double relative = 0x1p-21, absolute = std::ldexp(1.0, -static_cast<int>(fraction_bits));
        double variance = 0;
        int doubtful = 0;
        for (std::int64_t b = 0; b < n; b += bucket) {
            const auto [low, high] = std::minmax_element(x.begin() + b, x.begin() + b + bucket);
            const double u = (static_cast<double>(*high) - *low) / static_cast<double>(levels - 1);
            for (std::int64_t i = b; i < b + bucket; ++i) {
                const double position = (static_cast<double>(x[static_cast<std::size_t>(i)]) - *low) / u;
                // The draw is cut to as many bits as the fraction has.
                const double draw =
                    std::ldexp(std::floor(std::ldexp(stream.uniform(static_cast<std::uint64_t>(i)),
                                                     static_cast<int>(fraction_bits))),
                               -static_cast<int>(fraction_bits));
                const double off = relative * position + absolute;
                const double least = std::floor(position - off + draw),
                             most = std::floor(position + off + draw);
                const double tolerance = 0x1p-22 * u * static_cast<double>(levels - 1);
                const double value = result.values[static_cast<std::size_t>(i)];
                const bool one = std::fabs(value - (*low + u * least)) <= tolerance;
                const bool other = std::fabs(value - (*low + u * most)) <= tolerance;
                ASSERT_TRUE(one || other) << levels << " " << i;
                doubtful += least != most;
                const double fraction = position - std::floor(position);
                variance += u * u * fraction * (1 - fraction);
            }
        }
        // A draw falls into the doubtful part as often as that is wide, 2^-10 levels wide for 4096.
        EXPECT_LT(doubtful, 20) << levels;
        // A fraction that is off changes its term f(1-f) by less than that; the terms' mean is near 1/6.
        const double off = relative * static_cast<double>(levels) + absolute;
        EXPECT_NEAR(result.variance, variance, 8 * off * variance) << levels;
    }
}

TEST(Exponential, ExactlyEightMagnitudesAtSixteenLevels) {
    const auto x = gradient_like(100000);
    const Result result = run(settings_of(CodecKind::exponential, -1), x);
    double squares = 0;
    float largest = 0;
    for (const float v : x) squares += static_cast<double>(v) * v, largest = std::max(largest, std::fabs(v));
    std::set<float> magnitudes;
    for (const float v : result.values) magnitudes.insert(std::fabs(v));
    ASSERT_EQ(magnitudes.size(), 8u);
    const int top = static_cast<int>(std::ceil(std::log2(largest / std::sqrt(squares))));
    int e = top - 7;
    // Relative: the norm's sum is added in another order here.
    for (const float magnitude : magnitudes)
        EXPECT_NEAR(magnitude / std::ldexp(std::sqrt(squares), e++), 1.0, 1e-6);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(std::signbit(x[i]), std::signbit(result.values[i]));
}

TEST(Exponential, RoundsToAPowerNextToTheValue) {
    const auto x = gradient_like(5000);
    const Result result = run(settings_of(CodecKind::exponential, -1, 64), x);
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (x[i] == 0.0f) continue;
        const double ratio = result.values[i] / x[i];
        ASSERT_GT(ratio, 0.5 - 1e-6) << i;
        ASSERT_LE(ratio, 2.0 + 1e-6) << i;
    }
}

}  // namespace
}  // namespace qstep::test

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>

#include "codec_runner.h"
#include "quant/cpu/simd_group.h"
#include "quant/hadamard.h"
#include "quant/sampling.h"

namespace qstep::test {
namespace {

using quant::cpu::SimdGroup;

TEST(WalshHadamard, MatchesTheMatrix) {
    for (const std::int64_t n : {1, 2, 4, 8, 16, 64, 256}) {
        std::vector<float> x(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * i % 37) - 11;
        std::vector<float> y = x;
        SimdGroup::walsh_hadamard(y.data(), n, 1);
        for (std::size_t i = 0; i < x.size(); ++i) {
            double sum = 0;
            for (std::size_t j = 0; j < x.size(); ++j) sum += std::popcount(i & j) % 2 ? -x[j] : x[j];
            EXPECT_EQ(y[i], sum) << n;  // small integers: exact
        }
    }
}

TEST(WalshHadamard, TwiceIsTheIdentityTimesN) {
    for (std::int64_t n = 1; n <= 65536; n *= 2) {
        std::vector<float> x(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 5) - 2;
        std::vector<float> y = x;
        SimdGroup::walsh_hadamard(y.data(), n, 1);
        SimdGroup::walsh_hadamard(y.data(), n, 1);
        // Partial sums are integers below 2^24 only for small n; above, rounding is some 2^-24 of the
        // largest.
        const double tolerance = n <= 4096 ? 0.0 : 1e-3 * static_cast<double>(n);
        for (std::size_t i = 0; i < x.size(); ++i)
            ASSERT_NEAR(y[i], x[i] * static_cast<float>(n), tolerance) << n;
    }
}

TEST(WalshHadamard, ColumnsFinishWhatRowsBegan) {
    const std::int64_t rows = 8, pitch = 64, n = rows * pitch;
    const auto x = gradient_like(n);
    std::vector<float> whole = x, parts = x, strip(static_cast<std::size_t>(rows * quant::Hadamard::kStrip));
    SimdGroup group;
    group.walsh_hadamard(whole.data(), n, 1);
    for (std::int64_t row = 0; row < rows; ++row) group.walsh_hadamard(parts.data() + row * pitch, pitch, 1);
    for (std::int64_t column = 0; column < pitch; column += quant::Hadamard::kStrip)
        quant::Hadamard::transform_columns(group, parts.data(), rows, pitch, column, strip.data());
    EXPECT_TRUE(same_bits(whole, parts));
}

TEST(Signs, FollowTheirDefinitionAndAreFair) {
    const RandomStream stream{3, Purpose::rotation, 1};
    SimdGroup group;  // one for all, so that words kept from another place would be noticed
    for (const std::uint64_t first : {0, 1, 15, 511, 512, 5000}) {
        const quant::Signs signs{stream, first};
        std::int64_t seen = 0;
        group.for_each_sign(3000, signs, [&](std::int64_t i, std::uint32_t sign) {
            EXPECT_EQ(sign, signs.sign(i)) << first << " " << i;
            ++seen;
        });
        EXPECT_EQ(seen, 3000);
    }
    std::int64_t minus = 0;
    const quant::Signs signs{stream, 0};
    for (std::int64_t i = 0; i < 100000; ++i) minus += signs.sign(i) != 0;
    EXPECT_NEAR(static_cast<double>(minus), 50000.0, 5 * std::sqrt(100000.0) / 2);  // 5 sigma
}

TEST(Draws, TheVectorisedOnesAreThoseOfTheStream) {
    const RoundingStream stream{0x123456789abcdef0u, Purpose::rounding, 77};
    for (const std::uint64_t first :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{63}, (std::uint64_t{1} << 34) - 100}) {
        const quant::Draws draws{stream, first, false};
        std::vector<int> seen(2500, 0);
        SimdGroup::sum(2500, draws, [&](std::int64_t i, std::uint32_t word) {
            EXPECT_EQ(word, stream.bits(first + static_cast<std::uint64_t>(i)));
            ++seen[static_cast<std::size_t>(i)];
            return 0.0;
        });
        EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 2500);
    }
}

TEST(Sum, FollowsTheDocumentedOrder) {
    for (const std::int64_t n : {0, 1, 5, 255, 256, 257, 3000}) {
        std::vector<double> x(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = std::ldexp(1.0 + static_cast<double>(i % 7), static_cast<int>(i * 13 % 90));
        std::vector<double> lanes(quant::kSumLanes, 0.0);
        for (std::size_t i = 0; i < x.size(); ++i) lanes[i % lanes.size()] += x[i];
        for (std::size_t half = lanes.size() / 2; half > 0; half /= 2)
            for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        EXPECT_EQ(SimdGroup::sum(n, [&](std::int64_t i) { return x[static_cast<std::size_t>(i)]; }), lanes[0])
            << n;
    }
}

TEST(Permutation, IsOne) {
    for (const std::uint64_t n : {1, 2, 3, 4, 5, 16, 17, 1000, 1024, 1025, 51200}) {
        const quant::Permutation permutation(11, 2, 5, n);
        std::vector<int> seen(n, 0);
        for (std::uint64_t i = 0; i < n; ++i) {
            ASSERT_LT(permutation(i), n);
            ++seen[permutation(i)];
        }
        EXPECT_EQ(static_cast<std::uint64_t>(std::count(seen.begin(), seen.end(), 1)), n) << n;
    }
}

// As many as 64 bits can number.
TEST(Permutation, StaysInAnyRange) {
    constexpr std::uint64_t kMost = (std::uint64_t{1} << 63) + 5;
    const quant::Permutation permutation(11, 2, 5, kMost);
    std::set<std::uint64_t> images;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        images.insert(permutation(i));
        images.insert(permutation(kMost - 1 - i));
    }
    EXPECT_EQ(images.size(), 2000u);
    EXPECT_LT(*images.rbegin(), kMost);
}

TEST(Permutation, EveryElementAndPairIsSampledEquallyOften) {
    constexpr std::uint64_t n = 40, m = 10;
    constexpr int kTrials = 40000;
    std::vector<int> single(n, 0), pair(n * n, 0);
    for (int trial = 0; trial < kTrials; ++trial) {
        const quant::Permutation permutation(5, static_cast<std::uint32_t>(trial / 100),
                                             static_cast<std::uint64_t>(trial % 100), n);
        std::uint64_t sample[m];
        for (std::uint64_t i = 0; i < m; ++i) ++single[sample[i] = permutation(i)];
        for (std::uint64_t i = 0; i < m; ++i)
            for (std::uint64_t j = 0; j < m; ++j) ++pair[sample[i] * n + sample[j]];
    }
    // 6 sigma of a binomial: 1,600 counts are looked at.
    const auto check = [](int count, double p) {
        EXPECT_NEAR(count, kTrials * p, 6 * std::sqrt(kTrials * p * (1 - p)));
    };
    for (const int count : single) check(count, double(m) / n);
    for (std::uint64_t i = 0; i < n; ++i)
        for (std::uint64_t j = 0; j < i; ++j) check(pair[i * n + j], double(m * (m - 1)) / (n * (n - 1)));
}

}  // namespace
}  // namespace qstep::test

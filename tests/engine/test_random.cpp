#include "engine/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "engine/suggest.h"

namespace qstep {
namespace {

// 5 standard deviations: one false alarm in 1.7 million.
constexpr double kSigmas = 5.0;

// The philox4x32 lines of Random123's kat_vectors.
TEST(Philox, KnownAnswers) {
    using Words = std::array<std::uint32_t, 4>;
    struct Known {
        Words counter;
        std::array<std::uint32_t, 2> key;
        Words seven, ten;
    };
    const Known known[] = {
        {{0, 0, 0, 0},
         {0, 0},
         {0x5f6fb709u, 0x0d893f64u, 0x4f121f81u, 0x4f730a48u},
         {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
        {{0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu},
         {0xffffffffu, 0xffffffffu},
         {0x5207ddc2u, 0x45165e59u, 0x4d8ee751u, 0x8c52f662u},
         {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
        {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u},
         {0xa4093822u, 0x299f31d0u},
         {0x4dfccabau, 0x190a87f0u, 0xc47362bau, 0xb6b5242au},
         {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
    };
    for (const auto& [counter, key, seven, ten] : known) {
        EXPECT_EQ(
            std::to_array(philox4x32<7>(counter[0], counter[1], counter[2], counter[3], key[0], key[1]).word),
            seven);
        EXPECT_EQ(std::to_array(
                      philox4x32<10>(counter[0], counter[1], counter[2], counter[3], key[0], key[1]).word),
                  ten);
    }
}

TEST(RandomStream, ElementIsAWordOfItsBlock) {
    const RandomStream stream{0x0123456789abcdefu, Purpose::dropout, 42};
    for (const std::uint64_t e :
         {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{4}, std::uint64_t{1} << 40}) {
        EXPECT_EQ(stream.bits(e), stream.block(e / 4).word[e % 4]);
        const Draw4 draw =
            philox4x32<10>(static_cast<std::uint32_t>(e / 4), static_cast<std::uint32_t>(e / 4 >> 32), 42, 4,
                           0x89abcdefu, 0x01234567u);
        EXPECT_EQ(stream.bits(e), draw.word[e % 4]);
    }
}

TEST(RandomStream, SeedPurposeAndStepAllCount) {
    const RandomStream stream{1, Purpose::rounding, 2};
    EXPECT_EQ(stream.bits(5), (RandomStream{1, Purpose::rounding, 2}.bits(5)));
    EXPECT_NE(stream.bits(5), (RandomStream{2, Purpose::rounding, 2}.bits(5)));
    EXPECT_NE(stream.bits(5), (RandomStream{1, Purpose::rotation, 2}.bits(5)));
    EXPECT_NE(stream.bits(5), (RandomStream{1, Purpose::rounding, 3}.bits(5)));
    EXPECT_NE(stream.bits(5), stream.bits(6));
}

TEST(RandomStream, UniformIsInRangeWithTheRightMoments) {
    EXPECT_EQ(uniform_from_bits(0), 0.0f);
    EXPECT_EQ(uniform_from_bits(0xffffffffu), 1.0f - 0x1p-24f);
    const RandomStream stream{9, Purpose::rounding, 0};
    constexpr int kDraws = 1000000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
        const double u = stream.uniform(static_cast<std::uint64_t>(i));
        ASSERT_TRUE(u >= 0.0 && u < 1.0);
        sum += u;
        squares += u * u;
    }
    EXPECT_NEAR(sum / kDraws, 0.5, kSigmas * std::sqrt(1.0 / 12 / kDraws));
    EXPECT_NEAR(squares / kDraws, 1.0 / 3, kSigmas * std::sqrt(4.0 / 45 / kDraws));
}

TEST(RandomStream, BelowCoversItsRangeEvenly) {
    const RandomStream stream{10, Purpose::epoch_order, 0};
    constexpr int kDraws = 70000;
    std::array<int, 7> count{};
    for (int i = 0; i < kDraws; ++i) ++count.at(stream.below(static_cast<std::uint64_t>(i), 7));
    for (const int c : count) EXPECT_NEAR(c, kDraws / 7.0, kSigmas * std::sqrt(kDraws * 6.0 / 49));
    EXPECT_EQ(stream.below(3, 1), 0u);
}

TEST(RandomStream, NormalHasTheRightMoments) {
    const RandomStream stream{11, Purpose::init_weights, 0};
    constexpr int kDraws = 200000;
    double sum = 0, squares = 0, fourth = 0;
    for (int i = 0; i < kDraws; ++i) {
        const double x = stream.normal(static_cast<std::uint64_t>(i));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    // Variances of x, x^2 and x^4: 1, 2 and 96.
    EXPECT_NEAR(sum / kDraws, 0.0, kSigmas * std::sqrt(1.0 / kDraws));
    EXPECT_NEAR(squares / kDraws, 1.0, kSigmas * std::sqrt(2.0 / kDraws));
    EXPECT_NEAR(fourth / kDraws, 3.0, kSigmas * std::sqrt(96.0 / kDraws));
}

TEST(Suggest, EditDistance) {
    EXPECT_EQ(edit_distance("", ""), 0u);
    EXPECT_EQ(edit_distance("", "abc"), 3u);
    EXPECT_EQ(edit_distance("smart", "smart"), 0u);
    EXPECT_EQ(edit_distance("SMART", "smart"), 0u);
    EXPECT_EQ(edit_distance("smrat", "smart"), 1u);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
    EXPECT_EQ(edit_distance("standart", "standard"), 1u);
}

TEST(Suggest, NearestName) {
    constexpr std::array<std::string_view, 3> kNames{"resnet_20", "alexnet", "simple"};
    EXPECT_EQ(nearest_name("resnet20", kNames), "resnet_20");
    EXPECT_EQ(nearest_name("AlexNt", kNames), "alexnet");
    EXPECT_EQ(nearest_name("x", {}), "");
    constexpr std::array<std::string_view, 3> kSolvers{"sample", "exact", "histogram"};
    EXPECT_EQ(nearest_name("hist", kSolvers), "histogram");
    EXPECT_EQ(nearest_name("", kSolvers), "exact");
}

}  // namespace
}  // namespace qstep

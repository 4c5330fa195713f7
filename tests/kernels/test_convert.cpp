// Conversions against the scalar ones of engine/bf16.h, which have tests of their own.
#include "kernels/convert.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Owned;

class Convert : public ::testing::TestWithParam<int> {
  protected:
    Context context_{Device{}, GetParam()};
};

TEST_P(Convert, EveryBf16ThereAndBack) {
    constexpr std::int64_t kAll = 1 << 16;
    const Owned narrow(DType::bf16, {kAll}), wide(DType::f32, {256, 256}), back(DType::bf16, {kAll});
    for (std::int64_t i = 0; i < kAll; ++i) narrow.tensor().as<bf16>()[i] = {static_cast<std::uint16_t>(i)};
    convert(context_, wide, narrow);
    convert(context_, back, wide);
    for (std::int64_t i = 0; i < kAll; ++i) {
        const bf16 from = narrow.tensor().as<bf16>()[i];
        ASSERT_EQ(std::bit_cast<std::uint32_t>(wide.tensor().as<float>()[i]), std::uint32_t{from.bits} << 16);
        ASSERT_EQ(back.tensor().as<bf16>()[i].bits, to_bf16(to_float(from)).bits) << i;
    }
}

TEST_P(Convert, RandomBitsRoundToNearestEven) {
    constexpr std::int64_t kCount = 40001;
    const Owned wide(DType::f32, {kCount}), narrow(DType::bf16, {kCount});
    const RandomStream stream{.seed = 9};
    for (std::int64_t i = 0; i < kCount; ++i) {
        std::uint32_t bits = stream.bits(static_cast<std::uint64_t>(i));
        if (i % 4 == 0) bits = (bits & 0xffff0000u) | 0x8000u;  // a tie
        if (i % 64 == 1) bits |= 0x7f800000u;                   // infinity or NaN
        wide.tensor().as<float>()[i] = std::bit_cast<float>(bits);
    }
    convert(context_, narrow, wide);
    for (std::int64_t i = 0; i < kCount; ++i)
        ASSERT_EQ(narrow.tensor().as<bf16>()[i].bits, to_bf16(wide.tensor().as<float>()[i]).bits) << i;
    EXPECT_TRUE(narrow.guard_intact());
}

TEST_P(Convert, SameTypeIsACopy) {
    for (const std::int64_t count : {1, 7, 30001}) {
        const Owned from(DType::f32, {count}, 1), to(DType::f32, {count, 1});
        convert(context_, to, from);
        EXPECT_TRUE(to.same_bits(from));
        EXPECT_TRUE(to.guard_intact());
    }
}

TEST_P(Convert, ImpossibleConversionsThrow) {
    const Owned three(DType::f32, {3}), four(DType::bf16, {4});
    std::int32_t integers[4] = {};
    EXPECT_THROW(convert(context_, three, four), Error);
    EXPECT_THROW(convert(context_, four, {integers, DType::i32, {4}}), Error);
}

INSTANTIATE_TEST_SUITE_P(Threads, Convert, ::testing::Values(1, 2));

}  // namespace
}  // namespace qstep

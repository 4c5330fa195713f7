// The loops in intrinsics at the ends that whole codecs do not come to.
#include <gtest/gtest.h>

#include <vector>

#include "quant/cpu/avx512.h"
#include "quant/cpu/isa.h"

namespace qstep::quant::cpu {
namespace {

class Avx512 : public testing::Test {
  protected:
    void SetUp() override {
        if (!kAvx512Written || !supported(Isa::avx512)) GTEST_SKIP() << "this processor has no AVX-512";
    }
};

// The counter's upper word changes inside a call only beyond 2^34 elements.
template <typename Stream>
void expect_draws_to_go_on_where_the_counter_carries() {
    const Stream stream{7, Purpose::rounding, 3};
    constexpr std::int64_t kCount = 192;
    // 64 words of 16 blocks before the carry, the others behind it.
    constexpr std::uint64_t kFirst = (std::uint64_t{1} << 32) - 16;
    alignas(64) std::uint32_t words[kCount];
    philox_words_avx512(words, stream, kFirst, kCount);
    for (std::int64_t i = 0; i < kCount; ++i)
        ASSERT_EQ(words[i], stream.bits(4 * kFirst + static_cast<std::uint64_t>(i))) << i;
}
TEST_F(Avx512, DrawsGoOnWhereTheCounterCarries) {
    expect_draws_to_go_on_where_the_counter_carries<RandomStream>();
    expect_draws_to_go_on_where_the_counter_carries<RoundingStream>();
}

TEST_F(Avx512, StreamsAnyLengthToAnyAddress) {
    std::vector<float> from(64), room(64 + 32);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i + 1);
    for (std::int64_t offset = 0; offset < 16; ++offset)
        for (std::int64_t n = 0; n <= 64; ++n) {
            std::fill(room.begin(), room.end(), -1.0f);
            stream_avx512(room.data() + offset, from.data(), n);
            end_streams();
            for (std::int64_t i = 0; i < static_cast<std::int64_t>(room.size()); ++i) {
                const std::int64_t at = i - offset;
                ASSERT_EQ(room[static_cast<std::size_t>(i)],
                          at >= 0 && at < n ? from[static_cast<std::size_t>(at)] : -1.0f)
                    << offset << " " << n << " " << i;
            }
        }
}

}  // namespace
}  // namespace qstep::quant::cpu

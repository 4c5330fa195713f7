// Packed streams decode to what the quantizer in place gives, bit for bit, and their bytes never change.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "stream_runner.h"

namespace qstep::test {
namespace {

using quant::cpu::Isa;

/// encode() and decode() against quantize().
std::string difference(const CodecSettings& settings, const std::vector<float>& x, Isa isa, int threads = 2) {
    const auto n = static_cast<std::int64_t>(x.size());
    const Result expected = run(settings, x, 3, threads, isa);
    const Encoded encoded = encode(settings, x, 3, threads, isa);
    const std::string what = fmt::format("{} levels {} bucket {} elements {} isa {}", name_of(settings.kind),
                                         settings.levels, settings.bucket_size, n, static_cast<int>(isa));
    if (!same_bits(decode(settings, encoded.stream, n, threads, isa), expected.values))
        return what + ": other values";
    if (std::memcmp(&encoded.variance, &expected.variance, sizeof(double)) != 0)
        return what + ": other variance";
    const Context context(Device{}, threads);
    if (!same_bits(decode_stream(context, encoded.stream), expected.values))
        return what + ": other values of unknown origin";
    return "";
}

class Streams : public testing::TestWithParam<Isa> {
  protected:
    void SetUp() override {
        if (!quant::cpu::supported(GetParam())) GTEST_SKIP() << "this processor has no such instructions";
    }
};

TEST_P(Streams, DecodeToWhatQuantizeGives) {
    for (const Codec& kind : kAllCodecs)
        for (const std::int64_t bucket : {1, 7, 512, 513, 8192, 8193, 51200, -1})
            for (const std::int64_t n : {1, 2, 9, 513, 20001})
                ASSERT_EQ(difference(settings_of(kind, bucket), gradient_like(n), GetParam()), "");
}

TEST_P(Streams, DecodeToWhatQuantizeGivesForAllLevels) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t levels : {2,   3,   4,    5,    10,   16,    17,    33,    100,   128,  256,
                                          300, 600, 1500, 2500, 5000, 10000, 20000, 40000, 65535, 65536})
            for (const std::int64_t bucket : {7, 512, 9001}) {
                CodecSettings settings = settings_of(kind, bucket, levels);
                if (kind.points == Points::random && levels > 256) continue;
                if (kind == CodecKind::exponential && (levels > 128 || levels % 2 != 0)) continue;
                // Every candidate costs as many steps as there are levels.
                if (kind == CodecKind::smart && (levels > 256 || (levels > 33 && bucket > 7))) continue;
                ASSERT_EQ(difference(settings, gradient_like(bucket + bucket / 2), GetParam()), "");
            }
}

TEST_P(Streams, KeepBucketsThatAreNotFiniteZeroOrConstant) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const Codec& kind : kAllCodecs)
        for (const std::int64_t bucket : {1, 8, 513, 8500}) {
            const CodecSettings settings = settings_of(kind, bucket);
            const auto n = static_cast<std::size_t>(3 * bucket + 1);
            std::vector<float> x(n, 0.0f);
            for (std::size_t i = 0; i < n; i += 3) x[i] = -0.0f;
            ASSERT_EQ(difference(settings, x, GetParam()), "") << "zeros";
            for (const float value :
                 {0.25f, -std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min()})
                ASSERT_EQ(difference(settings, std::vector<float>(n, value), GetParam()), "") << value;
            for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
                x = gradient_like(static_cast<std::int64_t>(n));
                x[static_cast<std::size_t>(bucket)] = bad;
                ASSERT_EQ(difference(settings, x, GetParam()), "") << bad;
            }
        }
}

TEST_P(Streams, HaveTheBytesOfTheBaseline) {
    for (const Codec& kind : kAllCodecs)
        for (const std::int64_t bucket : {7, 512, 9001}) {
            const auto x = gradient_like(20001);
            const CodecSettings settings = settings_of(kind, bucket);
            const auto baseline = encode(settings, x, 3, 1, Isa::baseline).stream;
            ASSERT_EQ(encode(settings, x, 3, 2, GetParam()).stream, baseline) << name_of(kind);
        }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Streams, testing::Values(Isa::baseline, Isa::avx2, Isa::avx512),
                         [](const auto& info) {
                             return info.param == Isa::baseline ? "baseline"
                                    : info.param == Isa::avx2   ? "avx2"
                                                                : "avx512";
                         });

TEST(Streams, NearestDecodesToo) {
    for (const Codec& kind : kAllCodecs) {
        CodecSettings settings = settings_of(kind);
        settings.rounding = Rounding::nearest;
        EXPECT_EQ(difference(settings, gradient_like(2000), quant::cpu::best_isa()), "");
    }
}

TEST(Streams, SayHowTheyWereMade) {
    CodecSettings settings = settings_of(CodecKind::hadamard, 600, 5);
    settings.seed = 0x123456789abcdef0u;
    const auto stream = encode(settings, gradient_like(1000), std::int64_t{7} << 32 | 9).stream;
    const StreamHeader header = read_stream_header(stream);
    EXPECT_EQ(header.kind, CodecKind::hadamard);
    EXPECT_FALSE(header.entropy_coded);
    EXPECT_EQ(header.elements, 1000);
    EXPECT_EQ(header.bucket_size, 600);
    EXPECT_EQ(header.parameters.levels, 5);
    EXPECT_EQ(header.seed, settings.seed);
    EXPECT_EQ(header.step, 9u);
    // 64, two headers of 12, codes of 3 bits for 1024 and 512 elements.
    EXPECT_EQ(header.bytes, 64 + 24 + 384 + 192);
    EXPECT_DOUBLE_EQ(header.bits_per_element(), 664 * 8 / 1000.0);
}

TEST(Streams, TakeAsManyBytesAsDocumented) {
    const auto bytes = [](const CodecSettings& settings, std::int64_t n) {
        return quant::stream_layout(settings, n).bytes();
    };
    EXPECT_EQ(bytes(settings_of(CodecKind::none), 1001), 64 + 4004);
    EXPECT_EQ(bytes(settings_of(CodecKind::standard, 512), 1024 + 3), 64 + 3 * 8 + 2 * 256 + 2);
    EXPECT_EQ(bytes(settings_of(CodecKind::standard, 7, 17), 15), 64 + 3 * 8 + 2 * 5 + 1);
    EXPECT_EQ(bytes(settings_of(CodecKind::smart, -1, 4), 1000), 64 + 16 + 250);
    EXPECT_EQ(bytes(settings_of(CodecKind::exponential, 500, 128), 1000), 64 + 2 * 12 + 2 * 438);
    EXPECT_EQ(bytes(settings_of(CodecKind::hadamard, 500, 16), 1000), 64 + 2 * 12 + 2 * 256);
}

TEST(Streams, OfOtherSettingsAreRefused) {
    const auto x = gradient_like(100);
    const auto stream = encode(settings_of(CodecKind::standard, 32), x).stream;
    for (const CodecSettings& other :
         {settings_of(CodecKind::exponential, 32), settings_of(CodecKind::standard, 32, 15)})
        EXPECT_THROW(decode(other, stream, 100), Error) << name_of(other.kind);
}

/// FNV-1a, 64 bits.
std::uint64_t hash_of(std::span<const std::byte> bytes) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const std::byte byte : bytes) hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
    return hash;
}

std::string hex_of(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
}

TEST(Streams, BytesOfStandard) {
    // Five elements in buckets of 3: levels 0, 1, 2, 3 and -1, 1 are hit exactly.
    CodecSettings settings = settings_of(CodecKind::standard, 3, 4);
    settings.seed = 0x1122334455667788u;
    EXPECT_EQ(hex_of(encode(settings, {0.0f, 3.0f, 2.0f, 1.0f, -1.0f}, 258).stream),
              "51535450"
              "0100"
              "01"
              "00"
              "0500000000000000"
              "0300000000000000"
              "04000000"
              "00000000"
              "8877665544332211"
              "02010000"
              "00000000"
              "5200000000000000"
              "0000000000000000"
              "0000000000004040"
              "000080bf0000803f"
              "2c"
              "03");
}

TEST(Streams, BytesOfEveryCodecAreThoseOfVersionOne) {
    // Recorded once: streams that were written must be readable for ever. Rounding to nearest, because how
    // random numbers are drawn may change.
    std::vector<float> x(100);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = (static_cast<float>(i * 37 % 101) - 50.0f) / 64.0f;
    const std::pair<Codec, std::uint64_t> recorded[] = {
        {CodecKind::none, 3378190444707472687u},
        {CodecKind::standard, 13577715022712926651u},
        {CodecKind::smart, 4979648477203611546u},
        {CodecKind::hadamard, 7515827502957560514u},
        {CodecKind::exponential, 7986444757915517091u},
        {{CodecKind::standard, Points::random}, 15037317682228677043u},
        {CodecKind::qsgd, 1215426403155476373u},
        {{CodecKind::qsgd, Norm::max}, 768077004363710733u},
        {CodecKind::terngrad, 907654026804436106u},
        {CodecKind::sign, 13727519615603460916u},
        {CodecKind::natural, 10132885271462574149u},
        {CodecKind::dorefa, 2166590842014930772u},
        {CodecKind::fixed, 12448253432065030424u}};
    for (const auto& [kind, hash] : recorded) {
        CodecSettings settings = settings_of(kind, 40);
        if (kind != CodecKind::sign) settings.rounding = Rounding::nearest;
        EXPECT_EQ(hash_of(encode(settings, x, 5).stream), hash) << name_of(kind);
    }
}

}  // namespace
}  // namespace qstep::test

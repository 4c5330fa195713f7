// Entropy coding: back to the same bytes, near the entropy, plain where it does not help.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "quant/entropy.h"
#include "quant/rans.h"
#include "stream_runner.h"

namespace qstep::test {
namespace {

const Context& host() {
    static const Context context(Device{}, 2);
    return context;
}

/// Bits a code of these counts.
double entropy_of(const std::vector<std::int64_t>& counts) {
    double total = 0, bits = 0;
    for (const std::int64_t count : counts) total += static_cast<double>(count);
    for (const std::int64_t count : counts)
        if (count > 0)
            bits -= static_cast<double>(count) / total * std::log2(static_cast<double>(count) / total);
    return bits;
}

TEST(Frequencies, AddUpAndLeaveNoCodeOut) {
    for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>{5, 0},
                                                    {1, 1, 1},
                                                    {1, std::int64_t{1} << 40, 0, 3},
                                                    std::vector<std::int64_t>(256, 1),
                                                    std::vector<std::int64_t>(200, 7)}) {
        const auto frequencies = quant::Frequencies::from_counts(counts, 8);
        EXPECT_TRUE(frequencies.valid());
        for (std::size_t i = 0; i < counts.size(); ++i) EXPECT_EQ(counts[i] > 0, frequencies.of[i] > 0) << i;
    }
    std::vector<std::int64_t> many(4096, 1);
    many[17] = 1'000'000;
    EXPECT_TRUE(quant::Frequencies::from_counts(many, 12).valid());
}

TEST(Rans, GivesTheCodesBackNearTheirEntropy) {
    std::mt19937 random(5);
    for (const int bits : {1, 3, 4, 8, 12})
        for (const double slope : {0.0, 0.7, 3.0})
            for (const std::size_t n : {1u, 2u, 3u, 5u, 1000u, 65536u}) {
                std::vector<std::uint16_t> codes(n);
                std::vector<std::int64_t> counts(std::size_t{1} << bits);
                std::exponential_distribution<double> draw(slope > 0 ? slope : 1e-9);
                for (std::uint16_t& code : codes) {
                    code = static_cast<std::uint16_t>(std::min(draw(random), 1e9) < 1e9
                                                          ? static_cast<std::int64_t>(draw(random)) %
                                                                (std::int64_t{1} << bits)
                                                          : 0);
                    ++counts[code];
                }
                const auto frequencies = quant::Frequencies::from_counts(counts, bits);
                const auto bytes = quant::RansEncoder(frequencies).encode(codes);
                std::vector<std::uint16_t> back(n);
                ASSERT_TRUE(quant::RansDecoder(frequencies).decode(back, bytes)) << bits << " " << n;
                ASSERT_EQ(back, codes);
                if (n < 65536) continue;
                // Frequencies of 12 or 15 bits cost some hundredths of a bit; the states, 16 bytes.
                const double least = entropy_of(counts) * static_cast<double>(n) / 8;
                EXPECT_LE(static_cast<double>(bytes.size()), least * 1.03 + 64) << bits << " " << slope;
                EXPECT_GE(static_cast<double>(bytes.size()), least * 0.999 - 64) << bits << " " << slope;
            }
}

TEST(Rans, RefusesOtherBytes) {
    const std::vector<std::uint16_t> codes{0, 1, 2, 1, 0, 0, 0, 3, 1, 0};
    const auto frequencies = quant::Frequencies::from_counts(std::vector<std::int64_t>{5, 3, 1, 1}, 2);
    const auto bytes = quant::RansEncoder(frequencies).encode(codes);
    const quant::RansDecoder decoder(frequencies);
    std::vector<std::uint16_t> back(codes.size());
    for (std::size_t n = 0; n < bytes.size(); ++n)
        EXPECT_FALSE(decoder.decode(back, std::span(bytes).first(n))) << n;
    auto longer = bytes;
    for (const std::size_t more : {1, 2}) {
        longer.resize(bytes.size() + more);
        EXPECT_FALSE(decoder.decode(back, longer)) << more;
    }
    back.resize(codes.size() - 1);
    EXPECT_FALSE(decoder.decode(back, bytes));
}

TEST(Entropy, GivesTheStreamBack) {
    for (const Codec& kind : kAllCodecs)
        for (const std::int64_t bucket : {1, 7, 512, 8193, 65536, 70001, -1})
            for (const std::int64_t n : {1, 1000, 150001}) {
                if (kind == CodecKind::smart && bucket < 512 && n > 1000) continue;
                const auto stream = encode(settings_of(kind, bucket), gradient_like(n)).stream;
                const auto shorter = compress_stream(host(), stream);
                ASSERT_LE(shorter.size(), stream.size());
                ASSERT_EQ(expand_stream(host(), shorter), stream) << name_of(kind) << " " << bucket;
                ASSERT_TRUE(same_bits(decode_stream(host(), shorter), decode_stream(host(), stream)));
                ASSERT_EQ(compress_stream(host(), shorter), shorter);
            }
}

TEST(Entropy, IsTheSameForEveryNumberOfThreads) {
    const auto stream = encode(settings_of(CodecKind::standard), gradient_like(300000)).stream;
    const Context one(Device{}, 1);
    EXPECT_EQ(compress_stream(one, stream), compress_stream(host(), stream));
}

TEST(Entropy, HelpsWhereCodesDiffer) {
    const auto x = gradient_like(200000);
    const auto stream = encode(settings_of(CodecKind::standard), x).stream;
    const auto shorter = compress_stream(host(), stream);
    EXPECT_TRUE(read_stream_header(shorter).entropy_coded);
    // Of 4.125; the entropy of these codes is 2.9.
    EXPECT_LT(read_stream_header(shorter).bits_per_element(), 3.1);
}

TEST(Entropy, StoresPlainWhereItDoesNotHelp) {
    // Two levels, one as frequent as the other; too many levels; floats.
    std::vector<float> x(100000);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = i % 2 ? 1.0f : -1.0f;
    for (const CodecSettings& settings :
         {settings_of(CodecKind::standard, -1, 2), settings_of(CodecKind::standard, -1, 5000),
          settings_of(CodecKind::none)}) {
        const auto stream = encode(settings, x).stream;
        EXPECT_EQ(compress_stream(host(), stream), stream) << name_of(settings.kind);
    }
}

TEST(Entropy, ExpandsNoFurtherThanAllowed) {
    const auto stream = encode(settings_of(CodecKind::standard), std::vector<float>(100000, 0.5f)).stream;
    const auto shorter = compress_stream(host(), stream);
    ASSERT_LT(shorter.size(), stream.size() / 10);
    const auto size = static_cast<std::int64_t>(stream.size());
    EXPECT_EQ(expand_stream(host(), shorter, size), stream);
    EXPECT_THROW(expand_stream(host(), shorter, size - 1), Error);
}

// Else it would write what it refuses to read.
TEST(Entropy, CodesNothingThatIsTooLongToExpand) {
    const auto stream = encode(settings_of(CodecKind::standard), std::vector<float>(100000, 0.5f)).stream;
    const auto size = static_cast<std::int64_t>(stream.size());
    EXPECT_LT(compress_stream(host(), stream, size).size(), stream.size() / 10);
    EXPECT_EQ(compress_stream(host(), stream, size - 1), stream);
}

}  // namespace
}  // namespace qstep::test

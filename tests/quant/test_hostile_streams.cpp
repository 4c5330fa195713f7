// Streams of unknown origin: whatever their bytes are, the answer is values or a run error.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "quant/entropy.h"
#include "stream_runner.h"

namespace qstep::test {
namespace {

const Context& host() {
    static const Context context(Device{}, 1);
    return context;
}

/// Whether the stream was decoded; every exception but a run error of one line is a failure.
bool decodes(const std::vector<std::byte>& stream) {
    // A copy of exactly this length lets the sanitizer see reads beyond it.
    const std::vector<std::byte> exact(stream.begin(), stream.end());
    try {
        decode_stream(host(), exact);
        return true;
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        return false;
    }
}

std::vector<std::vector<std::byte>> small_streams() {
    std::vector<std::vector<std::byte>> streams;
    for (const Codec& kind : kAllCodecs)
        for (const std::int64_t levels : {4, 6})
            for (const std::int64_t bucket : {3, 32})
                streams.push_back(encode(settings_of(kind, bucket, levels), gradient_like(37)).stream);
    for (const Codec& kind : kLossyCodecs) {
        const auto stream = encode(settings_of(kind, -1, 6), gradient_like(1500)).stream;
        streams.push_back(compress_stream(host(), stream));
        // Signs are as good as coin flips, and a table of more codes than elements is no gain.
        EXPECT_EQ(read_stream_header(streams.back()).entropy_coded,
                  takes_levels(kind.kind) || kind == CodecKind::terngrad)
            << name_of(kind);
    }
    return streams;
}

TEST(HostileStreams, AreRefusedWhenTheyEndEarlyOrLate) {
    for (const auto& stream : small_streams()) {
        ASSERT_TRUE(decodes(stream));
        for (std::size_t n = 0; n < stream.size(); ++n) {
            ASSERT_FALSE(decodes({stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(n)})) << n;
            if (n < sizeof(std::uint64_t) + quant::kBytesByte) continue;
            // The header agrees with the length, the contents do not.
            std::vector<std::byte> agreeing(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(n));
            const std::uint64_t size = n;
            std::memcpy(agreeing.data() + quant::kBytesByte, &size, sizeof size);
            ASSERT_FALSE(decodes(agreeing)) << n;
        }
        auto longer = stream;
        longer.push_back(std::byte{0});
        ASSERT_FALSE(decodes(longer));
        const std::uint64_t size = longer.size();
        std::memcpy(longer.data() + quant::kBytesByte, &size, sizeof size);
        ASSERT_FALSE(decodes(longer));
    }
}

TEST(HostileStreams, MayHaveAnyByteChanged) {
    for (const auto& stream : small_streams())
        for (std::size_t at = 0; at < stream.size(); ++at) {
            // Every value in the header and in the first bytes behind, some further on.
            const int stride = at < 80 ? 1 : 51;
            for (int change = 1; change < 256; change += stride) {
                auto changed = stream;
                changed[at] ^= static_cast<std::byte>(change);
                decodes(changed);
            }
        }
}

/// A stream with one field of its header replaced.
template <typename T>
std::vector<std::byte> with(std::vector<std::byte> stream, std::size_t at, T value) {
    std::memcpy(stream.data() + at, &value, sizeof value);
    return stream;
}

// No encoder writes these headers; what they give must not hang on the device.
TEST(HostileStreams, OfAHadamardScaleTheExponentCounts) {
    for (const std::int64_t bucket : {1, 32, 9000}) {
        const auto stream = encode(settings_of(CodecKind::hadamard, bucket, 6), gradient_like(bucket)).stream;
        const auto scaled = [&](std::uint32_t word) {
            return decode_stream(host(), with(stream, quant::kStreamHeaderBytes, word));
        };
        const auto bits = [](float scale) { return std::bit_cast<std::uint32_t>(scale); };
        EXPECT_TRUE(same_bits(scaled(bits(1.5f)), scaled(bits(1.0f)))) << bucket;
        EXPECT_TRUE(same_bits(scaled(bits(-1.5f)), scaled(bits(1.0f)))) << bucket;
        EXPECT_TRUE(same_bits(scaled(0), scaled(bits(0x1p-100f)))) << bucket;
        for (const std::uint32_t none : {0x7f800000u, 0x7fc00001u, 0xffffffffu})
            EXPECT_TRUE(same_bits(scaled(none), scaled(bits(0x1p126f)))) << bucket;
    }
}

TEST(HostileStreams, OfANormThatIsNoneComesTheLargestFloat) {
    const auto x = gradient_like(37);
    auto stream = encode(settings_of(CodecKind::exponential, -1, 6), x).stream;
    // The upper half of the norm.
    stream = with(stream, quant::kStreamHeaderBytes + 8, 0x7ff80000u);
    const auto values = decode_stream(host(), stream);
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(values[i], std::copysign(std::numeric_limits<float>::max(), x[i])) << i;
}

TEST(HostileStreams, CannotClaimWhatIsNotThere) {
    for (const auto& stream : small_streams())
        for (const std::int64_t claim :
             {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31, std::int64_t{1} << 40,
              std::int64_t{1} << 48, std::int64_t{1} << 62, std::numeric_limits<std::int64_t>::max(),
              std::numeric_limits<std::int64_t>::min()}) {
            EXPECT_FALSE(decodes(with(stream, 8, claim)));
            EXPECT_FALSE(decodes(with(stream, quant::kBytesByte, claim)));
            for (const std::int64_t bucket : {std::int64_t{1}, claim})
                EXPECT_FALSE(decodes(with(with(stream, 8, claim), 16, bucket)));
        }
}

TEST(HostileStreams, SayWhatIsWrong) {
    const auto stream = encode(settings_of(CodecKind::standard, 32, 6), gradient_like(37)).stream;
    const auto message = [](const std::vector<std::byte>& bytes) -> std::string {
        try {
            decode_stream(host(), bytes);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message({}), "a gradient stream begins with a header of 64 bytes, but there are only 0 bytes");
    EXPECT_EQ(message(with(stream, 0, 'q')), "this is not a gradient stream: it does not begin with QSTP");
    EXPECT_EQ(message(with(stream, 4, std::uint16_t{2})),
              "the gradient stream has version 2, this program reads version 1");
    EXPECT_EQ(message(with(stream, 6, std::uint8_t{200})),
              "the gradient stream names a codec 200, which does not exist");
    EXPECT_EQ(message(with(stream, 24, std::uint32_t{1})),
              "the gradient stream's header makes no sense: standard needs at least 2 levels, got 1");
    // Level 7 of 6.
    EXPECT_EQ(message(with(stream, 64 + 16, std::uint8_t{7})),
              "bucket 0 of the gradient stream has a code that is none");
    EXPECT_EQ(message(with(stream, 44, std::uint8_t{7})),
              "the gradient stream's header has something where there should be zeros");
    // What cannot be decoded is not compressed either.
    try {
        compress_stream(host(), with(stream, 64 + 16, std::uint8_t{7}));
        ADD_FAILURE() << "compressed";
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "the gradient stream has a code that is none");
    }
}

// Buckets of several pieces, which are decoded apart: codes of three bits, all 7, of 6 levels.
TEST(HostileStreams, OneBadCodeInALongBucketIsFound) {
    for (const CodecKind kind : {CodecKind::standard, CodecKind::hadamard, CodecKind::dorefa}) {
        const CodecSettings settings = settings_of(kind, -1, 6);
        auto stream = encode(settings, gradient_like(40000)).stream;
        ASSERT_TRUE(decodes(stream));
        stream[stream.size() / 2] = std::byte{0xff};
        EXPECT_FALSE(decodes(stream)) << name_of(kind);
        try {
            decode(settings, stream, 40000);
            ADD_FAILURE() << name_of(kind);
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), "bucket 0 of the gradient stream has a code that is none");
        }
    }
}

// Of the same length, so that only the header tells them apart.
TEST(HostileStreams, ACodecRefusesStreamsOfOthers) {
    const CodecSettings own = settings_of(CodecKind::standard, 33, 16);
    const auto refusal = [](const CodecSettings& settings, const std::vector<std::byte>& stream,
                            std::int64_t n) {
        EXPECT_EQ(quant::stream_layout(settings, n).bytes(), static_cast<std::int64_t>(stream.size()));
        try {
            decode(settings, stream, n);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            return std::string(error.what());
        }
        return std::string("decoded");
    };
    const auto stream = encode(own, gradient_like(64)).stream;
    EXPECT_EQ(refusal(own, stream, 64), "decoded");
    CodecSettings other = own;
    other.seed = 8;
    EXPECT_EQ(refusal(other, stream, 64),
              "this stream is not one of standard with 16 levels, 64 elements, buckets of 33 and seed 8");
    other = own;
    other.levels = 15;
    EXPECT_NE(refusal(other, stream, 64).find("with 15 levels"), std::string::npos);
    other = own;
    other.bucket_size = 35;
    EXPECT_NE(refusal(other, stream, 64).find("buckets of 35"), std::string::npos);
    EXPECT_NE(refusal(own, stream, 65).find("65 elements"), std::string::npos);
    EXPECT_NE(refusal(own, with(stream, quant::kCodingByte, std::uint8_t{1}), 64).find("is not one of"),
              std::string::npos);
    int pairs = 0;
    for (const Codec& a : kAllCodecs)
        for (const Codec& b : kAllCodecs) {
            const CodecSettings from = settings_of(a), to = settings_of(b);
            if (a.kind == b.kind ||
                quant::stream_layout(from, 64).bytes() != quant::stream_layout(to, 64).bytes())
                continue;
            ++pairs;
            EXPECT_NE(refusal(to, encode(from, gradient_like(64)).stream, 64).find("is not one of"),
                      std::string::npos)
                << name_of(a) << " " << name_of(b);
        }
    EXPECT_GT(pairs, 0);
}

}  // namespace
}  // namespace qstep::test

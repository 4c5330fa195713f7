// The CUDA codecs write the CPU's streams, byte for byte, and read them to the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/backend.h"
#include "test_codecs.h"
#include "tests/quant/stream_runner.h"

namespace qstep::test {
namespace {

/// "", or what the GPU does otherwise than the CPU.
std::string stream_difference(const CodecSettings& settings, const std::vector<float>& x,
                              std::int64_t step = 3) {
    const Encoded expected = encode(settings, x, step);
    const auto count = static_cast<std::int64_t>(x.size());
    Context context(kGpu);
    const auto codec = make_codec(context, settings, count);
    context.workspace().freeze();
    std::vector<std::byte> bytes(static_cast<std::size_t>(codec->stream_bytes()), std::byte{0x5a});
    std::vector<float> values(x.size(), 12345.0f);
    Encoded got{bytes, -1};
    DeviceArray in(context, x.data(), size_in_bytes(x)), out(context, values.data(), size_in_bytes(values));
    DeviceArray stream(context, bytes.data(), bytes.size()), number(context, &step, sizeof step);
    DeviceArray variance(context, &got.variance, sizeof got.variance);
    const Tensor packed = stream.tensor(DType::u8, codec->stream_bytes());
    codec->encode(context, packed, in.tensor(DType::f32, count), number.tensor(DType::i64, 1),
                  variance.tensor(DType::f64, 1));
    codec->decode(context, out.tensor(DType::f32, count), packed);
    const std::string what = fmt::format("{} levels {} bucket {} elements {}", name_of(settings.kind),
                                         settings.levels, settings.bucket_size, count);
    if (!stream.read(got.stream.data()) || !out.read(values.data()) || !variance.read(&got.variance))
        return what + ": written outside";
    for (std::size_t i = 0; i < expected.stream.size(); ++i)
        if (got.stream[i] != expected.stream[i]) return fmt::format("{}: byte {} differs", what, i);
    if (std::memcmp(&got.variance, &expected.variance, sizeof(double)) != 0) return what + ": variance";
    const Context host(Device{}, 2);
    if (!same_bits(values, decode_stream(host, expected.stream))) return what + ": values";
    return "";
}

/// Whether the GPU makes the CPU's values of a stream that it need not have written; one NaN is like another.
bool decodes_alike(const CodecSettings& settings, const std::vector<std::byte>& stream, std::int64_t count) {
    Context context(kGpu);
    const auto codec = make_codec(context, settings, count);
    context.workspace().freeze();
    std::vector<float> values(static_cast<std::size_t>(count), 12345.0f);
    DeviceArray out(context, values.data(), size_in_bytes(values));
    DeviceArray from(context, stream.data(), stream.size());
    codec->decode(context, out.tensor(DType::f32, count), from.tensor(DType::u8, codec->stream_bytes()));
    if (!out.read(values.data())) return false;
    const Context host(Device{}, 2);
    const auto expected = decode_stream(host, stream);
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::memcmp(&values[i], &expected[i], sizeof(float)) != 0 &&
            !(std::isnan(values[i]) && std::isnan(expected[i])))
            return false;
    return true;
}

class CudaStreams : public CudaCodecs {};

// Parts of a warp, a warp with few and many quads a thread, a block, chunks; aligned and not.
const std::vector<std::int64_t> kBuckets{1, 3, 8, 13, 16, 31, 32, 100, 128, 509, 512, 1000, 1024, 2045, 2048};
const std::vector<std::int64_t> kLargeBuckets{2049, 5001, 8192, 8193, 20000, -1};

TEST_F(CudaStreams, HaveTheBytesOfTheCpu) {
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::smart}))
        for (const auto& buckets : {kBuckets, kLargeBuckets})
            for (const std::int64_t bucket : buckets)
                for (const std::int64_t n : {std::abs(bucket), 3 * bucket + bucket / 2 + 1})
                    ASSERT_EQ(stream_difference(settings_of(kind, bucket), gradient_like(n < 1 ? 20011 : n)),
                              "");
}

TEST_F(CudaStreams, OfSmartHaveTheBytesOfTheCpu) {
    for (const std::int64_t bucket : {1, 7, 16, 100, 513, 3000, 9000})
        ASSERT_EQ(
            stream_difference(settings_of(CodecKind::smart, bucket), gradient_like(bucket + bucket / 2 + 1)),
            "");
    for (const std::int64_t levels : {2, 3, 17, 256})
        ASSERT_EQ(stream_difference(settings_of(CodecKind::smart, 60, levels), gradient_like(130)), "");
}

// So many that threads and blocks take several in turn.
TEST_F(CudaStreams, OfManyBucketsHaveTheBytesOfTheCpu) {
    for (const CodecKind kind : {CodecKind::standard, CodecKind::qsgd, CodecKind::hadamard})
        for (const std::int64_t bucket : {13, 300})
            ASSERT_EQ(stream_difference(settings_of(kind, bucket), gradient_like(300 * 70)), "");
    CodecSettings settings = settings_of(CodecKind::smart, 16, 256);
    settings.solver = Solver::histogram;
    ASSERT_EQ(stream_difference(settings, gradient_like(16 * 270)), "");
}

TEST_F(CudaStreams, OfFloatsHaveTheBytesOfTheCpu) {
    for (const std::int64_t n : {1, 3, 8192, 8195})
        ASSERT_EQ(stream_difference(settings_of(CodecKind::none), gradient_like(n)), "");
}

TEST_F(CudaStreams, HaveTheBytesOfTheCpuForAllLevels) {
    for (const std::int64_t levels :
         {2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025, 2049, 4097, 8193, 16385, 65536})
        for (const std::int64_t bucket : {29, 520, 2100})
            for (const CodecKind kind : {CodecKind::standard, CodecKind::hadamard})
                ASSERT_EQ(stream_difference(settings_of(kind, bucket, levels), gradient_like(2 * bucket + 3)),
                          "");
    for (const std::int64_t levels : {2, 4, 6, 128})
        ASSERT_EQ(stream_difference(settings_of(CodecKind::exponential, 520, levels), gradient_like(1200)),
                  "");
}

TEST_F(CudaStreams, KeepBucketsThatAreNotFiniteOrZero) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : {8, 31, 512, 3000, 8500}) {
            const auto n = static_cast<std::size_t>(3 * bucket - 2);
            const CodecSettings settings = settings_of(kind, bucket);
            ASSERT_EQ(stream_difference(settings, std::vector<float>(n, -0.0f)), "");
            ASSERT_EQ(stream_difference(settings, std::vector<float>(n, 0.25f)), "");
            auto x = gradient_like(static_cast<std::int64_t>(n));
            x[static_cast<std::size_t>(bucket)] = std::numeric_limits<float>::infinity();
            ASSERT_EQ(stream_difference(settings, x), "");
        }
}

TEST_F(CudaStreams, NameTheStepAndRoundAsTold) {
    for (const Codec& kind : kLossyCodecs) {
        CodecSettings settings = settings_of(kind);
        settings.seed = 0xfedcba9876543210u;
        settings.rounding = Rounding::nearest;
        EXPECT_EQ(stream_difference(settings, gradient_like(1030), std::int64_t{1} << 33 | 5), "");
    }
}

// Headers that no encoder writes: numbers out of range, negative, infinite and not numbers.
TEST_F(CudaStreams, WithDamagedHeadersGiveTheValuesOfTheCpu) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : {1, 32, 3000, 9000}) {
            const CodecSettings settings = settings_of(kind, bucket, 6);
            const auto stream = encode(settings, gradient_like(bucket)).stream;
            const std::int64_t words = quant::stream_layout(settings, bucket).header_words;
            for (std::int64_t word = 0; word < words; ++word)
                for (const std::uint32_t damaged : {0u, 0x3fc00000u, 0xbfc00000u, 0x7f000001u, 0x7f800000u,
                                                    0xff800000u, 0x7fc00001u, 0x7ff80000u, 0xffffffffu}) {
                    auto changed = stream;
                    std::memcpy(changed.data() + quant::kStreamHeaderBytes + word * 4, &damaged,
                                sizeof damaged);
                    EXPECT_TRUE(decodes_alike(settings, changed, bucket)) << fmt::format(
                        "{} bucket {}: {:#x} as word {}", name_of(kind), bucket, damaged, word);
                }
        }
}

/// encode() and decode() inside a captured step, launched for two steps.
TEST_F(CudaStreams, AreWrittenInACapturedStep) {
    for (const Codec& kind : kAllCodecs) {
        const CodecSettings settings = settings_of(kind, 600);
        const auto x = gradient_like(1500);
        Context context(kGpu);
        const auto codec = make_codec(context, settings, 1500);
        context.workspace().freeze();
        std::int64_t step = 1;
        double none = 0;
        std::vector<std::byte> bytes(static_cast<std::size_t>(codec->stream_bytes()));
        std::vector<float> values(x.size());
        DeviceArray in(context, x.data(), size_in_bytes(x)),
            out(context, values.data(), size_in_bytes(values));
        DeviceArray stream(context, bytes.data(), bytes.size()), number(context, &step, sizeof step),
            variance(context, &none, sizeof none);
        const Tensor packed = stream.tensor(DType::u8, codec->stream_bytes());
        const auto captured = backend(kGpu).capture(context, [&](Context&) {
            codec->encode(context, packed, in.tensor(DType::f32, 1500), number.tensor(DType::i64, 1),
                          variance.tensor(DType::f64, 1));
            codec->decode(context, out.tensor(DType::f32, 1500), packed);
        });
        for (step = 4; step < 6; ++step) {
            backend(kGpu).copy_in(context, number.address(), &step, sizeof step);
            captured->launch(1);
            ASSERT_TRUE(stream.read(bytes.data()) && out.read(values.data()));
            EXPECT_EQ(bytes, encode(settings, x, step).stream) << name_of(kind);
            EXPECT_TRUE(same_bits(values, run(settings, x, step).values)) << name_of(kind);
        }
    }
}

}  // namespace
}  // namespace qstep::test

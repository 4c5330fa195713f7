// The CUDA codecs give the CPU's bits: values and variance.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "test_codecs.h"

namespace qstep::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

// Around every border between kernels: parts of a warp, a warp with 1, 4, 8, 16 quads a thread, a block,
// several chunks; with and without beginnings on multiples of four.
const std::vector<std::int64_t> kTinyBuckets{1, 2, 3, 4, 13, 14, 16, 17, 29, 30, 31, 32, 33};
const std::vector<std::int64_t> kWarpBuckets{100, 125, 126, 128,  255,  256,  257,  509,  511,
                                             512, 513, 516, 1000, 1024, 1025, 2045, 2046, 2048};
const std::vector<std::int64_t> kBlockBuckets{2049, 3000, 4096, 5001, 8191, 8192};
const std::vector<std::int64_t> kLongBuckets{8193, 16384, 20000, 51200, 65536, -1};

/// A whole number of buckets, or one more that is short and odd; where buckets fill a tile, a block's run of
/// them and more.
std::vector<std::int64_t> counts_for(std::int64_t bucket) {
    if (bucket < 0) return {1, 7, 513, 20011};
    if (bucket < 64) return {bucket, 3 * bucket + 1, 8192 + bucket / 2 + 1};
    if (bucket == 512) return {511, 1536, 4865, 2 * 8192, 8192 + 700};
    if (bucket <= 2048) return {bucket - 1, 3 * bucket, 9 * bucket + bucket / 2 + 1};
    return {bucket, bucket + bucket / 3 + 1};
}

void compare_all(const Codec& kind, const std::vector<std::int64_t>& buckets, std::int64_t levels = 16,
                 double percent = 1.0) {
    for (const std::int64_t bucket : buckets)
        for (const std::int64_t n : counts_for(bucket)) {
            CodecSettings settings = settings_of(kind, bucket, levels);
            settings.smart_candidates_percent = percent;
            const auto x = gradient_like(n);
            const std::string message = difference(run_on(Device{}, settings, x), run_on(kGpu, settings, x));
            ASSERT_EQ(message, "") << name_of(kind) << " bucket " << bucket << " levels " << levels
                                   << " elements " << n;
        }
}

TEST_F(CudaCodecs, StandardHasTheBitsOfTheCpu) {
    for (const auto& buckets : {kTinyBuckets, kWarpBuckets, kBlockBuckets, kLongBuckets})
        compare_all(CodecKind::standard, buckets);
    for (const std::int64_t levels : {2, 3, 255, 65536})
        compare_all(CodecKind::standard, {1, 33, 512, 2048, 8192, 8193}, levels);
}

TEST_F(CudaCodecs, ExponentialHasTheBitsOfTheCpu) {
    for (const auto& buckets : {kTinyBuckets, kWarpBuckets, kBlockBuckets, kLongBuckets})
        compare_all(CodecKind::exponential, buckets);
    for (const std::int64_t levels : {2, 4, 128})
        compare_all(CodecKind::exponential, {1, 33, 512, 2048, 8192, 8193}, levels);
}

// One test a codec, so that they can run side by side.
class PublishedCodecs : public CudaCodecs, public ::testing::WithParamInterface<Codec> {};

TEST_P(PublishedCodecs, HaveTheBitsOfTheCpu) {
    for (const auto& buckets : {kTinyBuckets, kWarpBuckets, kBlockBuckets, kLongBuckets})
        compare_all(GetParam(), buckets, 4);
    if (!takes_levels(GetParam().kind)) return;
    if (GetParam().points == Points::random) return compare_all(GetParam(), {512, 2049, 8193}, 256);
    for (const std::int64_t levels : {2, 3, 255, 65536})
        compare_all(GetParam(), {1, 33, 512, 2048, 8192, 8193}, levels);
}

INSTANTIATE_TEST_SUITE_P(, PublishedCodecs,
                         ::testing::Values(Codec(CodecKind::standard, Points::random), Codec(CodecKind::qsgd),
                                           Codec(CodecKind::qsgd, Norm::max), Codec(CodecKind::terngrad),
                                           Codec(CodecKind::sign), Codec(CodecKind::natural),
                                           Codec(CodecKind::dorefa), Codec(CodecKind::fixed)),
                         [](const auto& info) { return name_of(info.param); });

TEST_F(CudaCodecs, HadamardHasTheBitsOfTheCpuInRegisters) {
    for (const auto& buckets : {kTinyBuckets, kWarpBuckets}) compare_all(CodecKind::hadamard, buckets);
    for (const std::int64_t levels : {2, 3, 255})
        compare_all(CodecKind::hadamard, {1, 33, 512, 2048}, levels);
}

TEST_F(CudaCodecs, HadamardHasTheBitsOfTheCpuBeyond) {
    for (const auto& buckets : {kBlockBuckets, kLongBuckets}) compare_all(CodecKind::hadamard, buckets);
    // A short last bucket that is padded to as much, to less, to a chunk; two passes over columns.
    for (const std::int64_t n : {20000 + 17000, 20000 + 9000, 20000 + 8192, 20000 + 3, 140000})
        expect_same(settings_of(CodecKind::hadamard, n < 140000 ? 20000 : -1), gradient_like(n));
}

TEST_F(CudaCodecs, SmartHasTheBitsOfTheCpu) {
    for (const std::int64_t bucket : {1, 2, 3, 15, 16, 17, 31, 32, 33})
        expect_same(settings_of(CodecKind::smart, bucket), gradient_like(9 * bucket + bucket / 2));
    for (const std::int64_t bucket : {100, 257, 511, 512, 513, 1000, 4096, 8192, 8193, 20000, 51200, -1})
        expect_same(settings_of(CodecKind::smart, bucket), gradient_like(std::abs(bucket) + 700));
}

TEST_F(CudaCodecs, SmartHasTheBitsOfTheCpuForOtherLevelsAndShares) {
    for (const std::int64_t levels : {2, 3, 4, 17, 64, 256})
        expect_same(settings_of(CodecKind::smart, 600, levels), gradient_like(1300));
    CodecSettings settings = settings_of(CodecKind::smart, 3000);
    settings.smart_candidates_percent = 25;
    expect_same(settings, gradient_like(6100));
    // Too many for shared memory, and for choices of two bytes.
    settings.bucket_size = 8000;
    settings.smart_candidates_percent = 100;
    expect_same(settings, gradient_like(8100));
    settings.bucket_size = -1;
    settings.levels = 3;
    expect_same(settings, gradient_like(66000));
}

TEST_F(CudaCodecs, NoneHasTheBitsOfTheCpu) {
    for (const std::int64_t n : {1, 3, 8191, 8192, 8193, 20000}) {
        std::vector<float> x = gradient_like(n);
        expect_same(settings_of(CodecKind::none), x);
        x.back() = kNan;
        expect_same(settings_of(CodecKind::none), x);
    }
}

TEST_F(CudaCodecs, RoundToNearestHasTheBitsOfTheCpu) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : {32, 512, 513, 3000, 9000}) {
            CodecSettings settings = settings_of(kind, bucket);
            settings.rounding = Rounding::nearest;
            expect_same(settings, gradient_like(kind == CodecKind::smart ? 2 * bucket + 5 : 9777));
        }
}

TEST_F(CudaCodecs, StepAndSeedChangeTheDraws) {
    const auto x = gradient_like(1024);
    for (const Codec& kind : without(kLossyCodecs, {CodecKind::sign})) {
        CodecSettings settings = settings_of(kind);
        settings.seed = 0xfedcba9876543210u;
        for (const std::int64_t step : {std::int64_t{0}, std::int64_t{1}, std::int64_t{1} << 33 | 5})
            expect_same(settings, x, step);
        EXPECT_NE(run_on(kGpu, settings, x, 0).values, run_on(kGpu, settings, x, 1).values);
    }
}

// A captured codec reads gradient and step number when it runs, and leaves nothing behind for the next
// launch.
TEST_F(CudaCodecs, CapturedIsEager) {
    for (const CodecKind kind : {CodecKind::none, CodecKind::standard, CodecKind::smart, CodecKind::hadamard,
                                 CodecKind::exponential})
        // A kernel each: registers, shared memory, several launches with scratch memory between them.
        for (const std::int64_t bucket : {512, 3000, 9000}) {
            SCOPED_TRACE(fmt::format("{} {}", name_of(kind), bucket));
            const CodecSettings settings = settings_of(kind, bucket);
            const auto first = gradient_like(bucket + 5);
            std::vector<float> second(first.rbegin(), first.rend());
            Context context(kGpu, 1);
            const auto count = static_cast<std::int64_t>(first.size());
            const auto codec = make_codec(context, settings, count);
            context.workspace().freeze();
            const std::int64_t none = -1;
            DeviceArray in(context, second.data(), size_in_bytes(second)),
                out(context, second.data(), size_in_bytes(second)), step(context, &none, sizeof none),
                variance(context, &none, sizeof none);
            const auto captured = backend(kGpu).capture(context, [&](Context& inside) {
                codec->quantize(inside, out.tensor(DType::f32, count), in.tensor(DType::f32, count),
                                step.tensor(DType::i64, 1), variance.tensor(DType::f64, 1));
            });
            for (const std::int64_t number : {std::int64_t{7}, std::int64_t{8}}) {
                const auto& gradient = number == 7 ? first : second;
                backend(kGpu).copy_in(context, in.address(), gradient.data(), size_in_bytes(gradient));
                backend(kGpu).copy_in(context, step.address(), &number, sizeof number);
                captured->launch(1);
                Result result{gradient, -1};
                EXPECT_TRUE(out.read(result.values.data()));
                EXPECT_TRUE(variance.read(&result.variance));
                EXPECT_EQ(difference(run_on(kGpu, settings, gradient, number), result), "") << number;
            }
        }
}

TEST_F(CudaCodecs, InPlaceAndUnalignedAreTheSame) {
    for (const Codec& kind : all_codecs())
        for (const std::int64_t bucket : {16, 32, 512, 1000, 3000, 9000}) {
            const auto x = gradient_like(kind == CodecKind::smart ? 2 * bucket + 5 : 9333);
            const CodecSettings settings = settings_of(kind, bucket);
            const Result plain = run_on(kGpu, settings, x);
            EXPECT_EQ(difference(plain, run_on(kGpu, settings, x, 3, true)), "")
                << name_of(kind) << " " << bucket;
            for (const std::size_t skip : {1, 2, 3})
                EXPECT_EQ(difference(plain, run_on(kGpu, settings, x, 3, skip == 3, skip)), "")
                    << name_of(kind) << " " << bucket;
        }
}

TEST_F(CudaCodecs, SpecialBucketsHaveTheBitsOfTheCpu) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t bucket : {8, 31, 512, 1001, 3000, 8500}) {
            const auto n = static_cast<std::size_t>(3 * bucket - 2);
            const CodecSettings settings = settings_of(kind, bucket);
            std::vector<float> x(n, 0.0f);
            for (std::size_t i = 0; i < n; i += 3) x[i] = -0.0f;
            expect_same(settings, x);
            for (const float value : {0.25f, -kLargest, kDenormal}) {
                x.assign(n, value);
                expect_same(settings, x);
            }
            for (const float scale : {kLargest, 1e-38f, 1e-44f}) {
                x = gradient_like(static_cast<std::int64_t>(n));
                float largest = 0;
                for (const float v : x) largest = std::max(largest, std::fabs(v));
                for (float& v : x) v = static_cast<float>(v / static_cast<double>(largest) * scale);
                expect_same(settings, x);
            }
            for (const float bad : {kInfinity, -kInfinity, kNan})
                for (const std::int64_t place : {bucket, 2 * bucket - 1}) {
                    x = gradient_like(static_cast<std::int64_t>(n));
                    x[static_cast<std::size_t>(place)] = bad;
                    expect_same(settings, x);
                }
        }
}

// Where all buckets of a block fill a tile the kernels are others; neighbours share a warp.
TEST_F(CudaCodecs, SpecialBucketsAmongWholeTilesHaveTheBitsOfTheCpu) {
    for (const CodecKind kind : {CodecKind::standard, CodecKind::exponential, CodecKind::hadamard,
                                 CodecKind::qsgd, CodecKind::dorefa})
        for (const std::size_t bucket : {512, 1024, 2048}) {
            const CodecSettings settings = settings_of(kind, static_cast<std::int64_t>(bucket));
            std::vector<float> x = gradient_like(8 * 2048);
            float largest = 0;
            for (const float v : x) largest = std::max(largest, std::fabs(v));
            const auto fill = [&](std::size_t number, auto value) {
                for (std::size_t i = number * bucket; i < (number + 1) * bucket; ++i) x[i] = value(i);
            };
            const auto scaled_to = [&](float most) {
                return [&, most](std::size_t i) {
                    return static_cast<float>(x[i] / static_cast<double>(largest) * most);
                };
            };
            fill(1, [](std::size_t i) { return i % 3 == 0 ? -0.0f : 0.0f; });
            fill(2, scaled_to(kLargest));
            fill(4, scaled_to(1e-44f));
            fill(5, [](std::size_t) { return -kLargest; });
            fill(6, [](std::size_t) { return kDenormal; });
            expect_same(settings, x);
            x[3 * bucket + 7] = kNan;
            x[5 * bucket - 1] = kInfinity;
            x[7 * bucket] = -kInfinity;
            expect_same(settings, x);
        }
}

TEST_F(CudaCodecs, FirstNonFiniteIsFound) {
    Context context(kGpu);
    for (const std::int64_t n : {1, 255, 256, 257, 20000}) {
        std::vector<float> x(static_cast<std::size_t>(n), kLargest);
        const auto found = [&] {
            const DeviceArray array(context, x.data(), size_in_bytes(x));
            return first_non_finite(context, array.tensor(DType::f32, n));
        };
        EXPECT_EQ(found(), -1);
        for (const float bad : {kNan, kInfinity, -kInfinity})
            for (const std::int64_t place : {n - 1, n / 2, std::int64_t{0}}) {
                x[static_cast<std::size_t>(place)] = bad;
                EXPECT_EQ(found(), place);
                x.assign(x.size(), kLargest);
                x.back() = bad;
            }
    }
}

}  // namespace
}  // namespace qstep::test

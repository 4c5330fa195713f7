// A codec and momentum SGD in one launch against the two one after the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "test_codecs.h"

namespace qstep::test {
namespace {

struct Updated {
    std::vector<float> parameters, momentum;
    double variance = -1;
};

bool same(const Updated& a, const Updated& b) {
    return same_bits(a.parameters, b.parameters) && same_bits(a.momentum, b.momentum) &&
           std::memcmp(&a.variance, &b.variance, sizeof(double)) == 0;
}

Updated update(Device device, const CodecSettings& settings, const SgdSettings& sgd,
               const std::vector<float>& gradient, bool in_one, std::size_t skip = 0) {
    Context context(device, 2);
    const auto n = static_cast<std::int64_t>(gradient.size());
    const auto codec = make_codec(context, settings, n);
    context.workspace().freeze();
    Updated result{gradient_like(n, 5), gradient_like(n, 6)};
    const std::size_t bytes = size_in_bytes(gradient), offset = skip * sizeof(float);
    const std::int64_t step = 9;
    const float lr = 0.1f;
    const std::vector<float> garbage(gradient.size(), 1e9f);
    DeviceArray g(context, gradient.data(), bytes, offset),
        p(context, result.parameters.data(), bytes, offset),
        m(context, result.momentum.data(), bytes, offset), q(context, garbage.data(), bytes, offset),
        number(context, &step, sizeof step), rate(context, &lr, sizeof lr),
        variance(context, &result.variance, sizeof(double));
    const auto array = [n](const DeviceArray& a) { return a.tensor(DType::f32, n); };
    const Tensor step_tensor = number.tensor(DType::i64, 1), variance_tensor = variance.tensor(DType::f64, 1);
    const UpdateTensors tensors{array(p), array(m), array(g), rate.tensor(DType::f32, 1)};
    if (in_one) {
        codec->quantize_and_update(context, tensors, sgd, step_tensor, variance_tensor,
                                   codec->update_needs_buffer() ? array(q) : Tensor{});
    } else {
        codec->quantize(context, array(q), tensors.gradient, step_tensor, variance_tensor);
        sgd_update(context, tensors.parameters, tensors.momentum, array(q), tensors.lr, sgd);
    }
    EXPECT_TRUE(p.read(result.parameters.data()) && m.read(result.momentum.data()) &&
                variance.read(&result.variance))
        << "written outside";
    std::vector<float> after = gradient;
    EXPECT_TRUE(g.read(after.data()) && same_bits(after, gradient)) << "the gradient has changed";
    return result;
}

class CodecUpdate : public ::testing::TestWithParam<DeviceKind> {
  protected:
    void SetUp() override {
        if (device_count(GetParam()) == 0) GTEST_SKIP() << "no CUDA device";
    }
    Device device() const { return {GetParam(), 0}; }
};

TEST_P(CodecUpdate, IsTheSameAsBothInTurn) {
    for (const Codec& kind : all_codecs())
        for (const std::int64_t bucket : {1, 7, 32, 512, 513, 1000, 2048, 3000, 8192, 9000, -1})
            for (const bool nesterov : {false, true}) {
                const SgdSettings sgd{0.9f, 1e-4f, nesterov};
                // At 512 a block's run of whole tiles and more.
                const auto x = gradient_like(bucket == 9000             ? 18100
                                             : kind == CodecKind::smart ? 2 * std::abs(bucket) + 5
                                             : bucket == 512            ? 9000
                                                                        : 4099);
                const CodecSettings settings = settings_of(kind, bucket);
                EXPECT_TRUE(
                    same(update(device(), settings, sgd, x, true), update(device(), settings, sgd, x, false)))
                    << name_of(kind) << " " << bucket << " " << nesterov;
            }
}

TEST_P(CodecUpdate, IsTheSameOnUnalignedArrays) {
    for (const Codec& kind : all_codecs())
        for (const std::int64_t bucket : {512, 3000}) {
            const auto x = gradient_like(4099);
            const CodecSettings settings = settings_of(kind, bucket);
            EXPECT_TRUE(
                same(update(device(), settings, {}, x, true), update(device(), settings, {}, x, true, 1)))
                << name_of(kind) << " " << bucket;
        }
}

TEST_P(CodecUpdate, SaysThatAGradientIsNotFinite) {
    for (const Codec& kind : all_codecs())
        for (const std::int64_t bucket : {512, 3000, 9000}) {
            std::vector<float> x = gradient_like(2 * std::max<std::int64_t>(bucket, 4200));
            x[static_cast<std::size_t>(bucket)] = std::numeric_limits<float>::infinity();
            const Updated updated = update(device(), settings_of(kind, bucket), {}, x, true);
            EXPECT_TRUE(std::isnan(updated.variance)) << name_of(kind);
            for (std::size_t i = 0; i < static_cast<std::size_t>(bucket); ++i)
                ASSERT_TRUE(std::isfinite(updated.parameters[i])) << name_of(kind) << " " << i;
        }
}

INSTANTIATE_TEST_SUITE_P(Devices, CodecUpdate, ::testing::Values(DeviceKind::cpu, DeviceKind::cuda),
                         [](const auto& info) { return info.param == DeviceKind::cpu ? "cpu" : "cuda"; });

}  // namespace
}  // namespace qstep::test

// Error feedback on the GPU: the bits of the CPU, in the quantized gradient and in the residual.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "test_codecs.h"

namespace qstep::test {
namespace {

struct Fed {
    std::vector<float> quantized, residual;
    double variance = -1;
};

/// Some steps from one residual; skip: elements between the arrays and an address that suits vectors.
Fed run_steps(Device device, const CodecSettings& settings, const std::vector<float>& gradient,
              std::size_t skip = 0) {
    Context context(device, 2);
    const auto n = static_cast<std::int64_t>(gradient.size());
    const auto codec = make_codec(context, settings, n);
    context.workspace().freeze();
    Fed fed{gradient, gradient_like(n, 4)};
    const std::size_t bytes = size_in_bytes(gradient), offset = skip * sizeof(float);
    DeviceArray g(context, gradient.data(), bytes, offset), h(context, fed.residual.data(), bytes, offset),
        q(context, gradient.data(), bytes, offset), variance(context, &fed.variance, sizeof(double));
    codec->set_residual(h.tensor(DType::f32, n));
    for (std::int64_t step = 5; step < 8; ++step) {
        DeviceArray number(context, &step, sizeof step);
        codec->quantize(context, q.tensor(DType::f32, n), g.tensor(DType::f32, n),
                        number.tensor(DType::i64, 1), variance.tensor(DType::f64, 1));
        std::int64_t still = 0;
        EXPECT_TRUE(number.read(&still));
    }
    EXPECT_TRUE(q.read(fed.quantized.data()) && h.read(fed.residual.data()) && variance.read(&fed.variance))
        << "written outside";
    std::vector<float> after = gradient;
    EXPECT_TRUE(g.read(after.data()) && same_bits(after, gradient)) << "the gradient has changed";
    return fed;
}

bool same(const Fed& a, const Fed& b) {
    return same_bits(a.quantized, b.quantized) && same_bits(a.residual, b.residual) &&
           std::memcmp(&a.variance, &b.variance, sizeof(double)) == 0;
}

TEST_F(CudaCodecs, ErrorFeedbackHasTheBitsOfTheCpu) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::int64_t n : {1, 3, 4, 517, 4099, 9001})
            for (const auto& [alpha, beta] : {std::pair{1.0, 1.0}, {0.3, 0.9}, {0.0, 0.5}}) {
                CodecSettings settings = settings_of(kind, 512, 8);
                settings.error_feedback = true;
                settings.ef_alpha = alpha;
                settings.ef_beta = beta;
                const auto x = gradient_like(n);
                const Fed cpu = run_steps(Device{}, settings, x);
                EXPECT_TRUE(same(cpu, run_steps(kGpu, settings, x))) << name_of(kind) << " " << n;
                EXPECT_TRUE(same(cpu, run_steps(kGpu, settings, x, 1))) << name_of(kind) << " " << n;
            }
}

TEST_F(CudaCodecs, ErrorFeedbackReportsWhatIsNotFinite) {
    CodecSettings settings = settings_of(CodecKind::standard, 512);
    settings.error_feedback = true;
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        auto x = gradient_like(2000);
        x[700] = bad;
        const Fed cpu = run_steps(Device{}, settings, x), gpu = run_steps(kGpu, settings, x);
        EXPECT_TRUE(std::isnan(gpu.variance));
        for (std::size_t i = 0; i < x.size(); ++i) {
            ASSERT_EQ(std::isfinite(gpu.residual[i]), i / 512 != 1) << i;
            ASSERT_EQ(std::isfinite(cpu.residual[i]), i / 512 != 1) << i;
        }
    }
}

}  // namespace
}  // namespace qstep::test

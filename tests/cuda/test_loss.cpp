// Softmax cross-entropy on CUDA against the CPU backend.
#include "kernels/softmax_cross_entropy.h"
#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Owned;
using test::Twin;

// Sums in double, rounded to float32 at the end; the devices' exponentials differ in the last bits of double.
constexpr double kLossTolerance = 4 * test::kF32Rounding;
constexpr double kMetricsTolerance = 1e-12;

class LossOnCuda : public test::OnBoth {
  protected:
    Twin labels(std::int64_t rows, std::int64_t classes) {
        Twin labels(gpu(), DType::i32, {rows});
        for (std::int64_t n = 0; n < rows; ++n)
            labels.cpu().as<std::int32_t>()[n] = static_cast<std::int32_t>((n * 7 + 3) % classes);
        labels.upload();
        return labels;
    }
    static std::vector<double> doubles(const Owned& tensor) {
        const auto span = tensor.tensor().span<double>();
        return {span.begin(), span.end()};
    }
};

TEST_F(LossOnCuda, LossMetricsAndGradient) {
    struct Size {
        std::int64_t rows, classes;
    };
    for (const DType dtype : test::kFloatTypes)
        for (const Size& size : {Size{128, 10}, Size{1, 1}, Size{1, 10}, Size{5, 3}, Size{130, 37},
                                 Size{300, 10}, Size{33, 1000}}) {
            SCOPED_TRACE(fmt::format("{} rows of {} {}", size.rows, size.classes, name_of(dtype)));
            Twin logits(gpu(), dtype, {size.rows, size.classes}, 1, 4.0);
            Twin gradient(gpu(), dtype, {size.rows, size.classes}, 2, 1.0);
            Twin label = labels(size.rows, size.classes);
            Twin loss(gpu(), DType::f32, {1}), metrics(gpu(), DType::f64, {2});
            metrics.cpu().as<double>()[0] = 1.5;
            metrics.cpu().as<double>()[1] = 7;
            metrics.upload();
            QSTEP_ON_BOTH(
                c, softmax_cross_entropy_forward(c, loss.on(c), metrics.on(c), logits.on(c), label.on(c)));
            loss.expect_close(kLossTolerance, kLossTolerance);
            const auto got = doubles(metrics.fetch());
            const double* want = metrics.cpu().as<double>();
            EXPECT_NEAR(got[0], want[0], kMetricsTolerance * (1 + std::fabs(want[0])));
            EXPECT_EQ(got[1], want[1]);
            QSTEP_ON_BOTH(c, softmax_cross_entropy_backward(c, gradient.on(c), logits.on(c), label.on(c)));
            const double relative = 2 * test::rounding_of(dtype);
            gradient.expect_close(relative, kLossTolerance / static_cast<double>(size.rows));
            QSTEP_ON_BOTH(c, softmax_cross_entropy_backward(c, logits.on(c), logits.on(c), label.on(c)));
            logits.expect_close(relative, kLossTolerance / static_cast<double>(size.rows));
        }
}

TEST_F(LossOnCuda, TiesAndNanCountAsOnTheCpu) {
    constexpr std::int64_t kRows = 6, kClasses = 4;
    Twin logits(gpu(), DType::f32, {kRows, kClasses}, 1, 0.0, 1.0), label = labels(kRows, kClasses);
    logits.cpu().as<float>()[1] = NAN;
    logits.cpu().as<float>()[kClasses * 2 + 1] = INFINITY;
    logits.cpu().as<float>()[kClasses * 4 + 3] = 2.0f;
    logits.upload();
    Twin loss(gpu(), DType::f32, {1}), metrics(gpu(), DType::f64, {2});
    for (int i = 0; i < 2; ++i) metrics.cpu().as<double>()[i] = 0;
    metrics.upload();
    QSTEP_ON_BOTH(c, softmax_cross_entropy_forward(c, loss.on(c), metrics.on(c), logits.on(c), label.on(c)));
    EXPECT_EQ(doubles(metrics.fetch())[1], metrics.cpu().as<double>()[1]);
    EXPECT_TRUE(std::isnan(loss.fetch().values()[0]));
}

}  // namespace
}  // namespace qstep

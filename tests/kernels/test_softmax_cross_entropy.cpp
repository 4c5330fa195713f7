#include <limits>

#include "kernels/softmax_cross_entropy.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// The loss and its gradient are computed in double and rounded once; what is left is the exponential.
constexpr double kSlack = 1e-12;

struct Batch {
    Batch(DType dtype, std::int64_t rows, std::int64_t classes, double scale)
        : logits(dtype, {rows, classes}, 1, scale), labels(static_cast<std::size_t>(rows)) {
        const RandomStream stream{.seed = 2};
        for (std::size_t n = 0; n < labels.size(); ++n)
            labels[n] = static_cast<std::int32_t>(stream.below(n, static_cast<std::uint32_t>(classes)));
    }
    Tensor label_tensor() { return {labels.data(), DType::i32, {static_cast<std::int64_t>(labels.size())}}; }
    Owned logits;
    std::vector<std::int32_t> labels;
};

double reference_loss(const Doubles& logits, const std::vector<std::int32_t>& labels) {
    const std::size_t classes = logits.size() / labels.size();
    double total = 0;
    for (std::size_t n = 0; n < labels.size(); ++n) {
        const double* row = &logits[n * classes];
        const double top = *std::max_element(row, row + classes);
        double sum = 0;
        for (std::size_t k = 0; k < classes; ++k) sum += std::exp(row[k] - top);
        total += std::log(sum) + top - row[static_cast<std::size_t>(labels[n])];
    }
    return total / static_cast<double>(labels.size());
}

struct Outcome {
    float loss = -1;
    double metrics[2] = {0, 0};
};

class SoftmaxCrossEntropy : public ::testing::TestWithParam<DType> {
  protected:
    DType dtype() const { return GetParam(); }
    void forward(Outcome& outcome, const Tensor& logits, const Tensor& labels) {
        softmax_cross_entropy_forward(context_, {&outcome.loss, DType::f32, {1}},
                                      {outcome.metrics, DType::f64, {2}}, logits, labels);
    }
    Context context_{Device{}, 2};
};

TEST_P(SoftmaxCrossEntropy, LossAndMetrics) {
    for (const auto& [rows, classes] : {std::pair<int, int>{1, 1}, {1, 10}, {7, 3}, {128, 10}, {33, 17}}) {
        Batch batch(dtype(), rows, classes, 3.0);
        const double want = reference_loss(batch.logits.values(), batch.labels);
        Outcome outcome;
        forward(outcome, batch.logits, batch.label_tensor());
        EXPECT_NEAR(static_cast<double>(outcome.loss), want, test::kF32Rounding * want + kSlack);
        EXPECT_NEAR(outcome.metrics[0], want * rows, kSlack * rows);
        forward(outcome, batch.logits, batch.label_tensor());
        EXPECT_NEAR(outcome.metrics[0], 2 * want * rows, 2 * kSlack * rows);  // added to, loss overwritten
        EXPECT_NEAR(static_cast<double>(outcome.loss), want, test::kF32Rounding * want + kSlack);
    }
}

TEST_P(SoftmaxCrossEntropy, CountsRightAnswersFirstOfEqualsWins) {
    Owned logits(dtype(), {5, 3});
    logits.set({1, 2, 3,  //
                5, 5, 0,  // a tie: the first counts
                5, 5, 0,  //
                0, 0, 0,  //
                -1, -2, -3});
    std::int32_t labels[] = {2, 0, 1, 2, 0};
    Outcome outcome;
    forward(outcome, logits, {labels, DType::i32, {5}});
    EXPECT_EQ(outcome.metrics[1], 3.0);
}

TEST_P(SoftmaxCrossEntropy, HugeLogitsStayFinite) {
    Owned logits(dtype(), {3, 4}), dlogits(dtype(), {3, 4});
    const double huge = 0x1p126;  // exact in both types
    logits.set({huge, -huge, 0, 0, -huge, -huge, -huge, -huge, 1024, 1024, -huge, 0});
    std::int32_t labels[] = {0, 1, 1};
    Outcome outcome;
    forward(outcome, logits, {labels, DType::i32, {3}});
    const double want = (0 + std::log(4.0) + std::log(2.0)) / 3;
    EXPECT_NEAR(static_cast<double>(outcome.loss), want, test::kF32Rounding * want + kSlack);
    softmax_cross_entropy_backward(context_, dlogits, logits, {labels, DType::i32, {3}});
    const double third = 1.0 / 3;
    test::expect_close(
        dlogits.values(),
        {0, 0, 0, 0, third / 4, -third * 3 / 4, third / 4, third / 4, third / 2, -third / 2, 0, 0},
        test::rounding_of(dtype()) * 1.01, kSlack);
    labels[0] = 1;  // a loss too large for nothing but float32
    forward(outcome, logits, {labels, DType::i32, {3}});
    EXPECT_NEAR(static_cast<double>(outcome.loss), 2 * huge / 3, huge * 1e-6);
}

TEST_P(SoftmaxCrossEntropy, NanIsALossNotAnAnswer) {
    Owned logits(dtype(), {1, 3});
    for (std::int32_t label = 0; label < 3; ++label) {
        logits.set({std::numeric_limits<double>::quiet_NaN(), 1, 2});
        Outcome outcome;
        forward(outcome, logits, {&label, DType::i32, {1}});
        EXPECT_TRUE(std::isnan(outcome.loss));
        EXPECT_EQ(outcome.metrics[1], 0.0);
    }
}

TEST_P(SoftmaxCrossEntropy, GradientIsThatOfTheLoss) {
    constexpr double kStep = 1e-5;
    constexpr double kDifferenceError = 1e-9;  // kStep^2 times a third derivative below 1, and rounding
    for (const auto& [rows, classes] : {std::pair<int, int>{1, 1}, {1, 10}, {5, 3}, {33, 17}, {128, 10}}) {
        Batch batch(dtype(), rows, classes, 2.0);
        const Owned dlogits(dtype(), {rows, classes});
        softmax_cross_entropy_backward(context_, dlogits, batch.logits, batch.label_tensor());
        Doubles logits = batch.logits.values(), want(logits.size());
        for (std::size_t i = 0; i < logits.size(); ++i) {
            const double at = logits[i];
            logits[i] = at + kStep;
            const double above = reference_loss(logits, batch.labels);
            logits[i] = at - kStep;
            want[i] = (above - reference_loss(logits, batch.labels)) / (2 * kStep);
            logits[i] = at;
        }
        test::expect_close(dlogits.values(), want, test::rounding_of(dtype()) * 1.01, kDifferenceError);
        EXPECT_TRUE(dlogits.guard_intact());
        softmax_cross_entropy_backward(context_, batch.logits, batch.logits, batch.label_tensor());
        EXPECT_TRUE(batch.logits.same_bits(dlogits));
    }
}

TEST_P(SoftmaxCrossEntropy, DoesNotDependOnTheThreadCount) {
    Context serial(Device{}, 1);
    Batch batch(dtype(), 500, 10, 2.0);
    const Owned first(dtype(), {500, 10}), second(dtype(), {500, 10});
    softmax_cross_entropy_backward(context_, first, batch.logits, batch.label_tensor());
    softmax_cross_entropy_backward(serial, second, batch.logits, batch.label_tensor());
    EXPECT_TRUE(first.same_bits(second));
}

INSTANTIATE_TEST_SUITE_P(Types, SoftmaxCrossEntropy, ::testing::ValuesIn(test::kFloatTypes),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace qstep

// Convolution fused with the batch normalisation behind it, against the same in double precision.
#include <gtest/gtest.h>

#include "kernels/conv_bn.h"
#include "tests/kernels/conv_reference.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// Statistics are taken from y as stored, so the reference gets that y and only sums of M values remain:
// float32 partial sums of at most 64 values, then double.
constexpr double kStatisticsTolerance = 2e-6;
// Backward in float32 as in test_conv2d.cpp, with the roundings of dy's three terms on top.
constexpr double kF32Tolerance = 1e-5 * 8;
// dy is rounded to bf16 (2^-8 of an element each) before it is summed: independent errors, so the sum's
// relative error is about 2^-8 again; then dx itself is rounded. Elements are up to six root mean squares.
constexpr double kBf16Tolerance = 2 * 6 * 0x1p-8;

struct Case {
    Conv2dShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " x " << c.shape.x().to_string() << " w " << c.shape.w().to_string()
        << " stride " << c.shape.stride;
}

Owned make_weights(const Conv2dShape& shape) {
    const Owned rounded(DType::bf16, shape.w(), 2, 1 / std::sqrt(static_cast<double>(shape.in_channels)));
    Owned w(DType::f32, shape.w());
    w.set(rounded.values());
    return w;
}

class ConvBatchNorm : public ::testing::TestWithParam<Case> {
  protected:
    ConvBatchNorm()
        : context_(Device{}, 2),
          x_(dtype(), shape().x(), 1, 1, 2),
          w_(make_weights(shape())),
          y_(dtype(), shape().y()),
          mean_(DType::f32, channels()),
          inv_std_(DType::f32, channels()),
          gamma_(DType::f32, channels(), 3, 0.5, 1),
          beta_(DType::f32, channels(), 4),
          running_mean_(DType::f32, channels(), 5),
          running_var_(DType::f32, channels(), 6, 0.1, 1) {
        context_.workspace().reserve(conv2d_workspace(context_, shape(), dtype()));
        context_.workspace().reserve(batch_norm_workspace(context_, rows(), shape().out_channels));
        context_.workspace().reserve(
            batch_norm_workspace(context_, shape().x().count() / shape().in_channels, shape().in_channels));
        context_.workspace().freeze();
    }
    const Conv2dShape& shape() const { return GetParam().shape; }
    DType dtype() const { return GetParam().dtype; }
    Shape channels() const { return {shape().out_channels}; }
    std::int64_t rows() const { return shape().batch * shape().out_height() * shape().out_width(); }
    BatchNormStats stats() const { return {mean_, inv_std_}; }
    BatchNormParameters parameters() const { return {gamma_, beta_, running_mean_, running_var_}; }
    void forward() { conv2d_forward_statistics(context_, shape(), y_, x_, w_, stats(), parameters()); }

    Context context_;
    Owned x_, w_, y_, mean_, inv_std_, gamma_, beta_, running_mean_, running_var_;
};

// What is left to this convolution by the layer that made x gives the same bits as calls of its own.
TEST_P(ConvBatchNorm, WorksForTheLayerBefore) {
    const Shape inputs{shape().in_channels};
    const Owned before(dtype(), shape().x(), 20), residual(dtype(), shape().x(), 21),
        mean(DType::f32, inputs, 22), inv_std(DType::f32, inputs, 23, 0.25, 1), gamma(DType::f32, inputs, 24),
        beta(DType::f32, inputs, 25), running(DType::f32, inputs, 26, 0.1, 1);
    const BatchNormStats of_input{mean, inv_std};
    const Normalisation from{before, residual, true, of_input, {gamma, beta, running, running}};
    conv2d_forward_normalising(context_, shape(), y_, x_, from, w_, stats(), parameters());
    const Doubles x_at_once = x_.values(), y_at_once = y_.values(), mean_at_once = mean_.values();
    batch_norm_apply(context_, x_, before, residual, true, of_input, from.parameters);
    conv2d_forward_statistics(context_, shape(), y_, x_, w_, stats(), parameters());
    EXPECT_EQ(x_.values(), x_at_once);
    EXPECT_EQ(y_.values(), y_at_once);
    EXPECT_EQ(mean_.values(), mean_at_once);

    const Owned dz(dtype(), shape().y(), 27), dgamma(DType::f32, channels(), 28),
        dbeta(DType::f32, channels(), 29), dw(DType::f32, shape().w());
    const Owned dx_at_once(dtype(), shape().x()), dx(dtype(), shape().x());
    const Owned sums[2][2] = {{Owned(DType::f32, inputs), Owned(DType::f32, inputs)},
                              {Owned(DType::f32, inputs), Owned(DType::f32, inputs)}};
    const InputReduction input{before, sums[0][0], sums[0][1], true, of_input};
    const auto backward = [&](const Owned& to, const InputReduction* reduction) {
        conv2d_backward_through_batch_norm(context_, shape(), to, GradMode::overwrite, dw, dz, y_, x_, w_,
                                           dgamma, dbeta, stats(), gamma_, reduction);
    };
    backward(dx_at_once, &input);
    backward(dx, nullptr);
    batch_norm_backward_reduce(context_, dx, sums[1][0], sums[1][1], dx, x_, before, of_input);
    EXPECT_TRUE(dx.same_bits(dx_at_once));
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(sums[0][i].same_bits(sums[1][i])) << i;
}

TEST_P(ConvBatchNorm, ForwardStatistics) {
    const Doubles old_mean = running_mean_.values(), old_var = running_var_.values();
    forward();
    const Doubles expected = test::reference_forward(shape(), x_.values(), w_.values(), {});
    EXPECT_LT(test::distance(y_.values(), expected), dtype() == DType::bf16 ? kBf16Tolerance : kF32Tolerance);

    const Doubles y = y_.values();
    const auto count = static_cast<double>(rows());
    for (std::size_t c = 0; c < mean_.values().size(); ++c) {
        double sum = 0, squares = 0;
        for (std::size_t k = c; k < y.size(); k += mean_.values().size()) sum += y[k];
        const double mean = sum / count;
        for (std::size_t k = c; k < y.size(); k += mean_.values().size())
            squares += (y[k] - mean) * (y[k] - mean);
        const double var = squares / count, inv_std = 1 / std::sqrt(var + 1e-5);
        EXPECT_NEAR(mean_.values()[c], mean, kStatisticsTolerance / inv_std);
        EXPECT_NEAR(inv_std_.values()[c] / inv_std, 1, kStatisticsTolerance);
        EXPECT_NEAR(running_mean_.values()[c], 0.9 * old_mean[c] + 0.1 * mean,
                    kStatisticsTolerance * (1 + std::fabs(mean)));
        EXPECT_NEAR(running_var_.values()[c], 0.9 * old_var[c] + 0.1 * squares / (count - 1),
                    kStatisticsTolerance * (1 + var));
    }
}

TEST_P(ConvBatchNorm, Backward) {
    forward();
    const Owned dz(dtype(), shape().y(), 7), dgamma(DType::f32, channels(), 8, 10),
        dbeta(DType::f32, channels(), 9, 10);
    const Doubles y = y_.values(), dzs = dz.values(), mean = mean_.values(), inv_std = inv_std_.values();
    const Doubles dg = dgamma.values(), db = dbeta.values(), gamma = gamma_.values();
    const auto count = static_cast<double>(rows());
    Doubles dy(y.size());
    for (std::size_t k = 0; k < y.size(); ++k) {
        const std::size_t c = k % mean.size();
        const double xhat = (y[k] - mean[c]) * inv_std[c];
        dy[k] = gamma[c] * inv_std[c] * (dzs[k] - db[c] / count - xhat * dg[c] / count);
    }
    const Doubles dx = test::reference_backward_data(shape(), dy, w_.values());
    const Doubles dw = test::reference_backward_weights(shape(), dy, x_.values());
    const double limit = dtype() == DType::bf16 ? kBf16Tolerance : kF32Tolerance;

    for (const GradMode mode : {GradMode::skip, GradMode::overwrite, GradMode::accumulate}) {
        const Owned dx_before(dtype(), shape().x(), 10), dx_out(dtype(), shape().x(), 10),
            dw_out(DType::f32, shape().w());
        conv2d_backward_through_batch_norm(context_, shape(),
                                           mode == GradMode::skip ? Tensor{} : dx_out.tensor(), mode, dw_out,
                                           dz, y_, x_, w_, dgamma, dbeta, stats(), gamma_, nullptr);
        Doubles expected = mode == GradMode::overwrite ? dx : dx_before.values();
        if (mode == GradMode::accumulate)
            for (std::size_t k = 0; k < dx.size(); ++k) expected[k] += dx[k];
        EXPECT_LT(test::distance(dx_out.values(), expected), limit) << "mode " << static_cast<int>(mode);
        EXPECT_LT(test::distance(dw_out.values(), dw), limit) << "mode " << static_cast<int>(mode);
        EXPECT_TRUE(dx_out.guard_intact() && dw_out.guard_intact());
    }
}

std::vector<Case> all_cases() {
    const Conv2dShape shapes[] = {
        {3, 32, 32, 16, 16, 3, 3, 1, 1}, {2, 32, 32, 3, 16, 3, 3, 1, 1}, {2, 32, 32, 16, 32, 3, 3, 2, 1},
        {2, 16, 16, 32, 64, 1, 1, 2, 0}, {3, 8, 8, 64, 64, 3, 3, 1, 1},  {1, 13, 15, 32, 48, 3, 3, 1, 1},
        {1, 9, 70, 16, 16, 3, 3, 1, 1},  // rows longer than one run of the moments
        {3, 6, 5, 16, 16, 3, 3, 1, 1},   {2, 11, 13, 4, 10, 3, 3, 1, 1},  // general path
        {1, 8, 9, 5, 16, 5, 5, 2, 2},
    };
    std::vector<Case> cases;
    for (const Conv2dShape& shape : shapes)
        for (const DType dtype : {DType::f32, DType::bf16}) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, ConvBatchNorm, ::testing::ValuesIn(all_cases()));

}  // namespace
}  // namespace qstep

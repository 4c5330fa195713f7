#include "kernels/batch_norm.h"

#include "kernels/cpu/batch_norm_finish.h"
#include "tests/kernels/batch_norm_reference.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// Statistics against double precision, relative; the project promises 1e-5 and the sums leave room.
constexpr double kStatisticsTolerance = 2e-6;
// An output is a handful of float32 operations on numbers of up to about ten.
constexpr double kF32Absolute = 2e-6;
// Sums of rows * unit normals: relative to the root of the number of rows, whose sizes they have.
constexpr double kSumTolerance = 1e-6;

struct Case {
    Shape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " " << c.shape.to_string();
}

// One layer's tensors, the inputs drawn at random.
struct Layer {
    Layer(DType dtype, const Shape& shape, double deviation = 1.5, double offset = 0.7)
        : channels(shape[shape.rank() - 1]),
          rows(shape.count() / channels),
          y(dtype, shape, 1, deviation, offset),
          residual(dtype, shape, 2),
          dout(dtype, shape, 3),
          gamma(DType::f32, {channels}, 4, 0.5, 1.0),
          beta(DType::f32, {channels}, 5),
          running_mean(DType::f32, {channels}, 6),
          running_var(DType::f32, {channels}, 7, 0.1, 2.0),
          mean(DType::f32, {channels}),
          inv_std(DType::f32, {channels}),
          dgamma(DType::f32, {channels}),
          dbeta(DType::f32, {channels}) {
        reference.channels = static_cast<std::size_t>(channels);
        reference.eps = static_cast<double>(parameters().eps);
        reference.gamma = gamma.values();
        reference.beta = beta.values();
        reference.statistics(y.values());
    }
    BatchNormStats stats() const { return {mean, inv_std}; }
    BatchNormParameters parameters() const { return {gamma, beta, running_mean, running_var}; }

    std::int64_t channels, rows;
    Owned y, residual, dout, gamma, beta, running_mean, running_var, mean, inv_std, dgamma, dbeta;
    test::ReferenceBatchNorm reference;
};

Doubles masked(Doubles gradient, const Doubles& out) {
    for (std::size_t i = 0; i < out.size(); ++i)
        if (!(out[i] > 0)) gradient[i] = 0;
    return gradient;
}

class BatchNorm : public ::testing::TestWithParam<Case> {
  protected:
    BatchNorm()
        : layer_(GetParam().dtype, GetParam().shape),
          context_(bench_.with(batch_norm_workspace(bench_.context, layer_.rows, layer_.channels))) {}
    DType dtype() const { return GetParam().dtype; }
    const Shape& shape() const { return GetParam().shape; }
    void statistics() { batch_norm_statistics(context_, layer_.stats(), layer_.parameters(), layer_.y); }
    // y and the mean are rounded relative to themselves, but matter relative to the deviation.
    double conditioning() const {
        double worst = 1;
        for (std::size_t c = 0; c < layer_.reference.channels; ++c)
            worst = std::max(worst, std::fabs(layer_.reference.mean[c]) * layer_.reference.inv_std(c));
        return worst;
    }
    // The gradient's terms are gamma * inv_std times numbers of a few units, and may cancel.
    double gradient_absolute() const {
        double steepest = 1;
        for (std::size_t c = 0; c < layer_.reference.channels; ++c)
            steepest = std::max(steepest, std::fabs(layer_.reference.gamma[c]) * layer_.reference.inv_std(c));
        return kF32Absolute * steepest * conditioning();
    }
    double relative() const { return 4 * test::kF32Rounding + test::rounding_of(dtype()); }

    Layer layer_;
    test::Bench bench_;
    Context& context_;
};

TEST_P(BatchNorm, StatisticsAndRunningValues) {
    const Doubles old_mean = layer_.running_mean.values(), old_var = layer_.running_var.values();
    statistics();
    const auto& want = layer_.reference;
    const auto m = static_cast<double>(layer_.rows);
    const double momentum = static_cast<double>(layer_.parameters().momentum);
    for (std::size_t c = 0; c < want.channels; ++c) {
        const double deviation = std::sqrt(want.variance[c]);
        EXPECT_NEAR(layer_.mean.values()[c], want.mean[c],
                    kStatisticsTolerance * (deviation + std::fabs(want.mean[c])));
        EXPECT_NEAR(layer_.inv_std.values()[c] / want.inv_std(c), 1, kStatisticsTolerance);
        const double new_mean = (1 - momentum) * old_mean[c] + momentum * want.mean[c];
        const double new_var = (1 - momentum) * old_var[c] + momentum * want.variance[c] * m / (m - 1);
        EXPECT_NEAR(layer_.running_mean.values()[c], new_mean, kStatisticsTolerance * 4);
        EXPECT_NEAR(layer_.running_var.values()[c] / new_var, 1, kStatisticsTolerance);
    }
}

TEST_P(BatchNorm, RunningStatistics) {
    batch_norm_running_statistics(context_, layer_.stats(), layer_.parameters());
    EXPECT_TRUE(layer_.mean.same_bits(layer_.running_mean));
    for (std::size_t c = 0; c < layer_.reference.channels; ++c)
        EXPECT_NEAR(
            layer_.inv_std.values()[c] * std::sqrt(layer_.running_var.values()[c] + layer_.reference.eps), 1,
            2 * test::kF32Rounding);
}

TEST_P(BatchNorm, Apply) {
    statistics();
    for (const bool relu : {false, true})
        for (const bool add : {false, true}) {
            const Owned out(dtype(), shape());
            batch_norm_apply(context_, out, layer_.y, add ? layer_.residual.tensor() : Tensor{}, relu,
                             layer_.stats(), layer_.parameters());
            const Doubles want =
                layer_.reference.apply(layer_.y.values(), add ? layer_.residual.values() : Doubles{}, relu);
            test::expect_close(out.values(), want, relative(), kF32Absolute);
            EXPECT_TRUE(out.guard_intact());
        }
}

TEST_P(BatchNorm, ApplyInPlaceOfEitherInput) {
    statistics();
    const Owned out(dtype(), shape()), y(dtype(), shape(), 1, 1.5, 0.7), residual(dtype(), shape(), 2);
    batch_norm_apply(context_, out, y, residual, true, layer_.stats(), layer_.parameters());
    batch_norm_apply(context_, residual, y, residual, true, layer_.stats(), layer_.parameters());
    EXPECT_TRUE(residual.same_bits(out));
    batch_norm_apply(context_, y, y, layer_.residual, true, layer_.stats(), layer_.parameters());
    EXPECT_TRUE(y.same_bits(out));
}

TEST_P(BatchNorm, Backward) {
    statistics();
    for (const bool relu : {false, true}) {
        const Owned out(dtype(), shape()), dz(dtype(), shape()), dy(dtype(), shape());
        batch_norm_apply(context_, out, layer_.y, layer_.residual, relu, layer_.stats(), layer_.parameters());
        const Tensor incoming = relu ? dz.tensor() : layer_.dout.tensor();
        batch_norm_backward_reduce(context_, incoming, layer_.dgamma, layer_.dbeta, layer_.dout,
                                   relu ? out.tensor() : Tensor{}, layer_.y, layer_.stats());
        const Doubles want_dz = relu ? masked(layer_.dout.values(), out.values()) : layer_.dout.values();
        const auto want = layer_.reference.backward(want_dz, layer_.y.values());
        if (relu) test::expect_same(dz.values(), want_dz);
        const double size = std::sqrt(static_cast<double>(layer_.rows)) * conditioning();
        test::expect_close(layer_.dbeta.values(), want.beta, kSumTolerance, kSumTolerance * size);
        test::expect_close(layer_.dgamma.values(), want.gamma, kSumTolerance, kSumTolerance * size);
        EXPECT_TRUE(dz.guard_intact());

        batch_norm_backward_apply(context_, dy, GradMode::overwrite, incoming, layer_.y, layer_.dgamma,
                                  layer_.dbeta, layer_.stats(), layer_.gamma);
        test::expect_close(dy.values(), want.y, relative(), gradient_absolute());
        EXPECT_TRUE(dy.guard_intact());
    }
}

TEST_P(BatchNorm, BackwardModesAndAliases) {
    statistics();
    const Owned out(dtype(), shape()), dz(dtype(), shape()), dy(dtype(), shape());
    batch_norm_apply(context_, out, layer_.y, {}, true, layer_.stats(), layer_.parameters());
    batch_norm_backward_reduce(context_, dz, layer_.dgamma, layer_.dbeta, layer_.dout, out, layer_.y,
                               layer_.stats());
    const Owned in_place(dtype(), shape(), 3), dgamma(DType::f32, {layer_.channels}),
        dbeta(DType::f32, {layer_.channels});
    batch_norm_backward_reduce(context_, in_place, dgamma, dbeta, in_place, out, layer_.y, layer_.stats());
    EXPECT_TRUE(in_place.same_bits(dz));
    EXPECT_TRUE(dgamma.same_bits(layer_.dgamma));
    EXPECT_TRUE(dbeta.same_bits(layer_.dbeta));

    const auto backward = [&](const Tensor& to, GradMode mode) {
        batch_norm_backward_apply(context_, to, mode, dz, layer_.y, layer_.dgamma, layer_.dbeta,
                                  layer_.stats(), layer_.gamma);
    };
    backward(dy, GradMode::overwrite);
    const Owned sum(dtype(), shape(), 9), before(dtype(), shape(), 9);
    backward(sum, GradMode::skip);
    EXPECT_TRUE(sum.same_bits(before));
    backward(sum, GradMode::accumulate);
    Doubles want = before.values();
    const Doubles gradient = layer_.reference.backward(dz.values(), layer_.y.values()).y;
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += gradient[i];
    test::expect_close(sum.values(), want, relative(), gradient_absolute());
    backward(dz, GradMode::overwrite);  // dy may take dz's place
    EXPECT_TRUE(dz.same_bits(dy));
}

TEST_P(BatchNorm, DoesNotDependOnTheThreadCount) {
    Layer other(dtype(), shape());
    test::Bench serial(1);
    Context& one = serial.with(batch_norm_workspace(serial.context, layer_.rows, layer_.channels));
    const auto run = [&](Context& context, Layer& layer, const Owned& out, const Owned& dy) {
        batch_norm_statistics(context, layer.stats(), layer.parameters(), layer.y);
        batch_norm_apply(context, out, layer.y, layer.residual, true, layer.stats(), layer.parameters());
        batch_norm_backward_reduce(context, layer.dout, layer.dgamma, layer.dbeta, layer.dout, out, layer.y,
                                   layer.stats());
        batch_norm_backward_apply(context, dy, GradMode::overwrite, layer.dout, layer.y, layer.dgamma,
                                  layer.dbeta, layer.stats(), layer.gamma);
    };
    const Owned out1(dtype(), shape()), dy1(dtype(), shape()), out2(dtype(), shape()), dy2(dtype(), shape());
    run(context_, layer_, out1, dy1);
    run(one, other, out2, dy2);
    EXPECT_TRUE(layer_.mean.same_bits(other.mean));
    EXPECT_TRUE(layer_.inv_std.same_bits(other.inv_std));
    EXPECT_TRUE(layer_.running_var.same_bits(other.running_var));
    EXPECT_TRUE(layer_.dgamma.same_bits(other.dgamma));
    EXPECT_TRUE(layer_.dbeta.same_bits(other.dbeta));
    EXPECT_TRUE(out1.same_bits(out2));
    EXPECT_TRUE(dy1.same_bits(dy2));
}

std::vector<Case> all_cases() {
    const Shape shapes[] = {
        {4, 32, 32, 16}, {3, 16, 16, 32}, {5, 8, 8, 64},  // the network's own widths
        {2, 1},          {1, 5, 7, 3},    {6, 9, 10},     // channels that fill no vector
        {1, 13, 11, 17}, {2, 3, 3, 300},                  // wider than a tile
        {7, 129},        {1, 40, 41, 48}, {20000, 1},    {2, 16},
    };
    std::vector<Case> cases;
    for (const Shape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, BatchNorm, ::testing::ValuesIn(all_cases()));

// The reference's backward against differences of the reference's forward, for loss = sum(weights * out).
TEST(BatchNormReference, GradientsAreThoseOfTheForward) {
    constexpr double kStep = 1e-5, kDifferenceError = 1e-7;
    const Layer layer(DType::f32, {6, 3});
    Doubles y = layer.y.values();
    const Doubles weights = layer.dout.values();
    const auto loss = [&] {
        test::ReferenceBatchNorm norm = layer.reference;
        norm.statistics(y);
        double sum = 0;
        const Doubles out = norm.apply(y, {}, true);
        for (std::size_t i = 0; i < out.size(); ++i) sum += weights[i] * out[i];
        return sum;
    };
    const auto got = layer.reference.backward(masked(weights, layer.reference.apply(y, {}, true)), y);
    for (std::size_t i = 0; i < y.size(); ++i) {
        const double at = y[i];
        y[i] = at + kStep;
        const double above = loss();
        y[i] = at - kStep;
        const double below = loss();
        y[i] = at;
        EXPECT_NEAR(got.y[i], (above - below) / (2 * kStep), kDifferenceError);
    }
}

TEST(BatchNormStatistics, SurviveALargeMean) {
    // Values of about 100 +- 0.01 lie on a grid of 2^-17 (a thousandth of the deviation); their variance, as
    // stored, must come out as well as any other.
    Layer layer(DType::f32, {8, 32, 32, 17}, 0.01, 100.0);
    test::Bench bench;
    Context& context = bench.with(batch_norm_workspace(bench.context, layer.rows, layer.channels));
    batch_norm_statistics(context, layer.stats(), layer.parameters(), layer.y);
    for (std::size_t c = 0; c < layer.reference.channels; ++c) {
        EXPECT_NEAR(layer.mean.values()[c] / layer.reference.mean[c], 1, test::kF32Rounding * 1.01);
        EXPECT_NEAR(layer.inv_std.values()[c] / layer.reference.inv_std(c), 1, kStatisticsTolerance);
    }
}

TEST(BatchNormStatistics, SurviveRowsThatAreUnlikeTheRest) {
    // The rows that the shift is estimated from are some deviations off.
    Layer layer(DType::f32, {32768, 16}, 1.0, 0.0);
    Doubles values = layer.y.values();
    for (std::size_t i = 0; i < values.size(); ++i)
        if (i / 16 % (32768 / 16) == 0) values[i] += 10;
    layer.y.set(values);
    layer.reference.statistics(layer.y.values());
    test::Bench bench;
    Context& context = bench.with(batch_norm_workspace(bench.context, layer.rows, layer.channels));
    batch_norm_statistics(context, layer.stats(), layer.parameters(), layer.y);
    for (std::size_t c = 0; c < layer.reference.channels; ++c)
        EXPECT_NEAR(layer.inv_std.values()[c] / layer.reference.inv_std(c), 1, kStatisticsTolerance);
}

TEST(BatchNormStatistics, ConstantChannelHasNoVariance) {
    Layer layer(DType::f32, {1000, 3});
    layer.y.set(Doubles(3000, 0.1));
    test::Bench bench;
    Context& context = bench.with(batch_norm_workspace(bench.context, layer.rows, layer.channels));
    batch_norm_statistics(context, layer.stats(), layer.parameters(), layer.y);
    for (const double inv_std : layer.inv_std.values())
        EXPECT_NEAR(inv_std * std::sqrt(layer.reference.eps), 1, kStatisticsTolerance);
}

TEST(BatchNormStatistics, OneValuePerChannelIsRefused) {
    Layer layer(DType::f32, {1, 1, 1, 4});
    test::Bench bench;
    Context& context = bench.with(batch_norm_workspace(bench.context, layer.rows, layer.channels));
    EXPECT_THROW(batch_norm_statistics(context, layer.stats(), layer.parameters(), layer.y), Error);
}

TEST(BatchNormErrors, ReduceWithoutReluNeedsOneTensor) {
    Layer layer(DType::f32, {4, 3});
    test::Bench bench;
    Context& context = bench.with(batch_norm_workspace(bench.context, layer.rows, layer.channels));
    EXPECT_THROW(batch_norm_backward_reduce(context, layer.residual, layer.dgamma, layer.dbeta, layer.dout,
                                            {}, layer.y, layer.stats()),
                 Error);
}

// Blocks of different sizes and shifts, some empty, as a convolution's epilogue leaves them.
TEST(BatchNormFinish, CombinesBlocks) {
    Layer layer(DType::f32, {1000, 5}, 0.02, 50.0);
    const std::int64_t bounds[] = {0, 1, 1, 400, 1000, 1000};
    constexpr std::int64_t kBlocks = 5;
    std::vector<std::byte> memory(cpu::MomentPartials::bytes(kBlocks, 5) + 64);
    auto address = (reinterpret_cast<std::uintptr_t>(memory.data()) + 63) / 64 * 64;
    const auto partials = cpu::MomentPartials::in(reinterpret_cast<void*>(address), kBlocks, 5);
    const Doubles y = layer.y.values();
    for (std::int64_t b = 0; b < kBlocks; ++b) {
        partials.count[b] = bounds[b + 1] - bounds[b];
        for (std::int64_t c = 0; c < 5; ++c) {
            const std::int64_t at = b * 5 + c;
            partials.shift[at] =
                partials.count[b] > 0 ? 50.0f + 0.01f * static_cast<float>(at) : std::nanf("");
            partials.sum[at] = partials.square_sum[at] = partials.count[b] > 0 ? 0.0 : std::nan("");
            for (std::int64_t r = bounds[b]; r < bounds[b + 1]; ++r) {
                const double value =
                    y[static_cast<std::size_t>(r * 5 + c)] - static_cast<double>(partials.shift[at]);
                partials.sum[at] += value;
                partials.square_sum[at] += value * value;
            }
        }
    }
    cpu::finish_statistics(layer.stats(), layer.parameters(), partials);
    for (std::size_t c = 0; c < 5; ++c) {
        EXPECT_NEAR(layer.mean.values()[c] / layer.reference.mean[c], 1, test::kF32Rounding * 1.01);
        EXPECT_NEAR(layer.inv_std.values()[c] / layer.reference.inv_std(c), 1, 4 * test::kF32Rounding);
    }
}

}  // namespace
}  // namespace qstep

// Batch normalisation on CUDA against the CPU backend.
#include "kernels/batch_norm.h"
#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

// Both sides sum float32 partials in double; the project promises 1e-5.
constexpr double kStatisticsTolerance = 2e-6;
// A handful of float32 operations, in another order, on numbers of up to about ten.
constexpr double kF32Absolute = 4e-6;
// Sums of rows * unit normals: relative to the root of the number of rows, whose sizes they have.
constexpr double kSumTolerance = 1e-6;

struct Case {
    Shape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " " << c.shape.to_string();
}

class BatchNormOnCuda : public test::OnBoth, public ::testing::WithParamInterface<Case> {
  protected:
    struct Layer {
        Layer(Context& gpu, DType dtype, const Shape& shape)
            : channels(shape[shape.rank() - 1]),
              rows(shape.count() / channels),
              y(gpu, dtype, shape, 1, 1.5, 0.7),
              residual(gpu, dtype, shape, 2, 1.0),
              dout(gpu, dtype, shape, 3, 1.0),
              out(gpu, dtype, shape, 10, 1.0),
              gamma(gpu, DType::f32, {channels}, 4, 0.5, 1.0),
              beta(gpu, DType::f32, {channels}, 5, 1.0),
              running_mean(gpu, DType::f32, {channels}, 6, 1.0),
              running_var(gpu, DType::f32, {channels}, 7, 0.1, 2.0),
              mean(gpu, DType::f32, {channels}),
              inv_std(gpu, DType::f32, {channels}),
              dgamma(gpu, DType::f32, {channels}),
              dbeta(gpu, DType::f32, {channels}) {}
        BatchNormStats stats(const Context& c) const { return {mean.on(c), inv_std.on(c)}; }
        BatchNormParameters parameters(const Context& c) const {
            return {gamma.on(c), beta.on(c), running_mean.on(c), running_var.on(c)};
        }
        std::int64_t channels, rows;
        Twin y, residual, dout, out, gamma, beta, running_mean, running_var, mean, inv_std, dgamma, dbeta;
    };

    void SetUp() override {
        OnBoth::SetUp();
        if (IsSkipped()) return;
        layer_.emplace(gpu(), GetParam().dtype, GetParam().shape);
        reserve([&](const Context& c) { return batch_norm_workspace(c, layer_->rows, layer_->channels); });
    }
    void statistics() {
        QSTEP_ON_BOTH(c, batch_norm_statistics(c, layer_->stats(c), layer_->parameters(c), layer_->y.on(c)));
    }
    // The later passes are compared for the same statistics.
    void share_statistics() {
        statistics();
        layer_->mean.upload();
        layer_->inv_std.upload();
    }
    DType dtype() const { return GetParam().dtype; }
    const Shape& shape() const { return GetParam().shape; }
    // Another last bit of float32 can decide how an element is rounded to bf16.
    double relative() const {
        return 8 * test::kF32Rounding + (dtype() == DType::bf16 ? 2 * test::kBf16Rounding : 0);
    }
    double steepest() const {
        double worst = 1;
        const auto* inv_std = layer_->inv_std.cpu().as<float>();
        for (std::int64_t c = 0; c < layer_->channels; ++c)
            worst = std::max(worst, 3.0 * static_cast<double>(inv_std[c]));
        return worst;
    }
    std::optional<Layer> layer_;
};

TEST_P(BatchNormOnCuda, Statistics) {
    statistics();
    layer_->mean.expect_close(kStatisticsTolerance, kStatisticsTolerance);
    layer_->inv_std.expect_close(kStatisticsTolerance, 0);
    layer_->running_mean.expect_close(kStatisticsTolerance, kStatisticsTolerance);
    layer_->running_var.expect_close(kStatisticsTolerance, 0);
}

TEST_P(BatchNormOnCuda, RunningStatistics) {
    QSTEP_ON_BOTH(c, batch_norm_running_statistics(c, layer_->stats(c), layer_->parameters(c)));
    layer_->mean.expect_same_bits();
    layer_->inv_std.expect_same_bits();
}

TEST_P(BatchNormOnCuda, Apply) {
    share_statistics();
    for (const bool relu : {false, true})
        for (const bool add : {false, true}) {
            QSTEP_ON_BOTH(c, batch_norm_apply(c, layer_->out.on(c), layer_->y.on(c),
                                              add ? layer_->residual.on(c) : Tensor{}, relu, layer_->stats(c),
                                              layer_->parameters(c)));
            layer_->out.expect_close(relative(), kF32Absolute * steepest());
        }
    // In place of either input.
    QSTEP_ON_BOTH(c, batch_norm_apply(c, layer_->residual.on(c), layer_->y.on(c), layer_->residual.on(c),
                                      true, layer_->stats(c), layer_->parameters(c)));
    layer_->residual.expect_close(relative(), kF32Absolute * steepest());
    QSTEP_ON_BOTH(c, batch_norm_apply(c, layer_->y.on(c), layer_->y.on(c), {}, false, layer_->stats(c),
                                      layer_->parameters(c)));
    layer_->y.expect_close(relative(), kF32Absolute * steepest());
}

TEST_P(BatchNormOnCuda, Backward) {
    share_statistics();
    QSTEP_ON_BOTH(c, batch_norm_apply(c, layer_->out.on(c), layer_->y.on(c), {}, true, layer_->stats(c),
                                      layer_->parameters(c)));
    layer_->out.upload();
    for (const bool relu : {false, true}) {
        Twin dz(gpu(), dtype(), shape(), 8, 1.0), dy(gpu(), dtype(), shape(), 9, 1.0);
        const auto to = [&](const Context& c) { return relu ? dz.on(c) : layer_->dout.on(c); };
        QSTEP_ON_BOTH(c, batch_norm_backward_reduce(c, to(c), layer_->dgamma.on(c), layer_->dbeta.on(c),
                                                    layer_->dout.on(c), relu ? layer_->out.on(c) : Tensor{},
                                                    layer_->y.on(c), layer_->stats(c)));
        if (relu) dz.expect_same_bits();
        const double size = std::sqrt(static_cast<double>(layer_->rows)) * steepest();
        layer_->dbeta.expect_close(kSumTolerance, kSumTolerance * size);
        layer_->dgamma.expect_close(kSumTolerance, kSumTolerance * size);
        layer_->dbeta.upload();
        layer_->dgamma.upload();
        for (const GradMode mode : test::kGradModes) {
            QSTEP_ON_BOTH(
                c, batch_norm_backward_apply(c, dy.on(c), mode, to(c), layer_->y.on(c), layer_->dgamma.on(c),
                                             layer_->dbeta.on(c), layer_->stats(c), layer_->gamma.on(c)));
            dy.expect_close(relative(), kF32Absolute * steepest());
        }
    }
}

TEST_P(BatchNormOnCuda, BackwardInPlace) {
    share_statistics();
    const auto in_place = [&](Twin& dz) {
        QSTEP_ON_BOTH(
            c, batch_norm_backward_reduce(c, dz.on(c), layer_->dgamma.on(c), layer_->dbeta.on(c), dz.on(c),
                                          layer_->out.on(c), layer_->y.on(c), layer_->stats(c)));
    };
    in_place(layer_->dout);
    layer_->dout.expect_same_bits();
    layer_->dbeta.upload();
    layer_->dgamma.upload();
    QSTEP_ON_BOTH(c, batch_norm_backward_apply(c, layer_->dout.on(c), GradMode::overwrite, layer_->dout.on(c),
                                               layer_->y.on(c), layer_->dgamma.on(c), layer_->dbeta.on(c),
                                               layer_->stats(c), layer_->gamma.on(c)));
    layer_->dout.expect_close(relative(), kF32Absolute * steepest());
}

TEST_P(BatchNormOnCuda, TwoRunsGiveTheSameBits) {
    Layer other(gpu(), dtype(), shape());
    const auto run = [&](Layer& layer) {
        batch_norm_statistics(gpu(), layer.stats(gpu()), layer.parameters(gpu()), layer.y.gpu());
        batch_norm_backward_reduce(gpu(), layer.dout.gpu(), layer.dgamma.gpu(), layer.dbeta.gpu(),
                                   layer.dout.gpu(), layer.out.gpu(), layer.y.gpu(), layer.stats(gpu()));
    };
    run(*layer_);
    run(other);
    EXPECT_TRUE(layer_->mean.fetch().same_bits(other.mean.fetch()));
    EXPECT_TRUE(layer_->inv_std.fetch().same_bits(other.inv_std.fetch()));
    EXPECT_TRUE(layer_->running_var.fetch().same_bits(other.running_var.fetch()));
    EXPECT_TRUE(layer_->dgamma.fetch().same_bits(other.dgamma.fetch()));
    EXPECT_TRUE(layer_->dbeta.fetch().same_bits(other.dbeta.fetch()));
}

std::vector<Case> all_cases() {
    const Shape shapes[] = {
        {4, 32, 32, 16}, {3, 16, 16, 32}, {5, 8, 8, 64},  // the network's own widths
        {2, 1},          {2, 8},          {1, 5, 7, 3},   // one block, one row a thread
        {6, 9, 10},      {1, 13, 11, 17}, {7, 129},       // channels that fill no vector
        {2, 3, 3, 300},  {9, 520},        {3, 1000},      // several tiles of channels
        {20000, 1},      {2, 16},         {1, 40, 41, 48},
        {300, 520},      {2, 100, 45},  // several tiles, several blocks of rows each
    };
    std::vector<Case> cases;
    for (const Shape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, BatchNormOnCuda, ::testing::ValuesIn(all_cases()));

class BatchNormStatisticsOnCuda : public test::OnBoth {};

TEST_F(BatchNormStatisticsOnCuda, SurviveALargeMean) {
    constexpr std::int64_t kChannels = 16, kRows = 4096;
    Twin y(gpu(), DType::f32, {kRows, kChannels}, 1, 0.01, 100.0);
    Twin mean(gpu(), DType::f32, {kChannels}), inv_std(gpu(), DType::f32, {kChannels});
    Twin one(gpu(), DType::f32, {kChannels}, 2, 0.0, 1.0), zero(gpu(), DType::f32, {kChannels}, 2, 0.0);
    reserve([&](const Context& c) { return batch_norm_workspace(c, kRows, kChannels); });
    QSTEP_ON_BOTH(c, batch_norm_statistics(c, {mean.on(c), inv_std.on(c)},
                                           {one.on(c), zero.on(c), zero.on(c), one.on(c)}, y.on(c)));
    mean.expect_close(kStatisticsTolerance, 0);
    inv_std.expect_close(4 * kStatisticsTolerance, 0);  // the shift is one row, a few deviations off the mean
}

TEST_F(BatchNormStatisticsOnCuda, ConstantsHaveNoVarianceAndNanShows) {
    constexpr std::int64_t kChannels = 8, kRows = 700;
    Twin y(gpu(), DType::bf16, {kRows, kChannels}, 1, 0.0, 3.0);
    y.cpu().as<bf16>()[kChannels * 600 + 5] = to_bf16(NAN);
    y.upload();
    Twin mean(gpu(), DType::f32, {kChannels}), inv_std(gpu(), DType::f32, {kChannels});
    Twin one(gpu(), DType::f32, {kChannels}, 2, 0.0, 1.0), zero(gpu(), DType::f32, {kChannels}, 2, 0.0);
    reserve([&](const Context& c) { return batch_norm_workspace(c, kRows, kChannels); });
    QSTEP_ON_BOTH(c, batch_norm_statistics(c, {mean.on(c), inv_std.on(c)},
                                           {one.on(c), zero.on(c), zero.on(c), one.on(c)}, y.on(c)));
    mean.expect_same_values();
    inv_std.expect_same_values();
    EXPECT_TRUE(std::isnan(mean.fetch().values()[5]));
}

TEST_F(BatchNormStatisticsOnCuda, ASingleValueIsAnError) {
    Twin y(gpu(), DType::f32, {1, 4}, 1, 1.0), each(gpu(), DType::f32, {4}, 2, 1.0);
    reserve([&](const Context& c) { return batch_norm_workspace(c, 1, 4); });
    const Tensor t = each.gpu();
    EXPECT_THROW(batch_norm_statistics(gpu(), {t, t}, {t, t, t, t}, y.gpu()), Error);
}

}  // namespace
}  // namespace qstep

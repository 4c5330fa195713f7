// Wiring of layers on the tape: the joined node against separate ones, branches, evaluation, dropout.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/random.h"
#include "layers/basic.h"
#include "layers/conv.h"
#include "layers/network.h"

namespace qstep {
namespace {

const Device kCpu{DeviceKind::cpu, 0};
// Two float32 evaluations of the same sums in another order, values near 1.
constexpr double kReordered = 2e-5;

void fill_uniform(const Tensor& tensor, std::uint64_t seed, float low, float high) {
    const RandomStream stream{seed, Purpose::synthetic_data, 0};
    auto values = tensor.span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = low + (high - low) * stream.uniform(i);
}

double relative_difference(const Tensor& a, const Tensor& b) {
    double difference = 0.0, size = 0.0;
    for (std::int64_t i = 0; i < a.count(); ++i) {
        const double x = a.as<float>()[i], y = b.as<float>()[i];
        difference += (x - y) * (x - y);
        size += y * y;
    }
    return std::sqrt(difference / size);
}

/// A graph from images [N,H,W,C] to logits with its own parameters, laid out and filled with random values.
class Graph {
  public:
    using Build = std::function<Value*(Tape&, Value* x)>;
    Graph(const Shape& input, bool training, const std::function<Build(ParameterStore&)>& declare) {
        const Build build = declare(store_);
        lay_out(input, training, build);
        arena_.commit();
        lay_out(input, training, build);
        context_.workspace().freeze();
        fill_uniform(store_.values(), 1, -0.5f, 0.5f);
        for (const auto& buffer : store_.buffers()) fill_uniform(buffer.value, 2, 0.5f, 1.5f);
        fill_uniform(x_->data, 3, -1.0f, 1.0f);
        for (std::int64_t n = 0; n < labels_->data.count(); ++n)
            labels_->data.as<std::int32_t>()[n] = static_cast<std::int32_t>(n % 10);
    }
    void run() {
        tape_->forward();
        if (tape_->training()) tape_->backward();
    }
    const Tensor& logits() const { return logits_->data; }
    const ParameterStore& store() const { return store_; }

  private:
    void lay_out(const Shape& input, bool training, const Build& build) {
        store_.allocate(context_, arena_, DType::f32);
        metrics_ = arena_.allocate(DType::f64, {2});
        tape_ = std::make_unique<Tape>(context_, arena_, training);
        x_ = tape_->input(DType::f32, input);
        labels_ = tape_->input(DType::i32, {input[0]});
        logits_ = build(*tape_, x_);
        tape_->finish(build_loss(*tape_, logits_, labels_, metrics_), {logits_});
    }
    Context context_{kCpu, 2};
    Arena arena_{kCpu, "test arena"};
    ParameterStore store_;
    std::unique_ptr<Tape> tape_;
    Value *x_ = nullptr, *labels_ = nullptr, *logits_ = nullptr;
    Tensor metrics_;
};

/// Two convolutions with batch norm, the second with a shortcut, then pool and linear: joined nodes or
/// separate ones.
std::function<Graph::Build(ParameterStore&)> residual_block(bool joined, bool projection) {
    return [=](ParameterStore& store) -> Graph::Build {
        const std::int64_t in = projection ? 16 : 32, stride = projection ? 2 : 1;
        const auto first =
            std::make_shared<Conv2d>(store, "a", Conv2d::Geometry{in, 32, 3, stride, 1}, Init::normal(1));
        const auto bn_first = std::make_shared<BatchNorm2d>(store, "bn_a", 32, 1.0);
        const auto second =
            std::make_shared<Conv2d>(store, "b", Conv2d::Geometry{32, 32, 3, 1, 1}, Init::normal(1));
        const auto bn_second = std::make_shared<BatchNorm2d>(store, "bn_b", 32, 1.0);
        const auto side =
            std::make_shared<Conv2d>(store, "c", Conv2d::Geometry{in, 32, 1, stride, 0}, Init::normal(1));
        const auto bn_side = std::make_shared<BatchNorm2d>(store, "bn_c", 32, 1.0);
        const auto fc = std::make_shared<Linear>(store, "fc", 32, 10, Init::normal(1), Init::constant(0));
        return [=](Tape& tape, Value* images) {
            const auto unit = [&](const Conv2d& conv, const BatchNorm2d& bn, const ConvBnValue& x,
                                  Value* residual, bool relu) {
                return joined ? build_conv_bn(tape, conv, bn, x, residual, relu)
                              : ConvBnValue(bn.build(tape, conv.build(tape, x), residual, relu));
            };
            // The images need a gradient of their own to reach the shortcut's addition: pass them through a
            // layer.
            ConvBnValue x = images;
            const ConvBnValue shortcut = projection ? unit(*side, *bn_side, x, nullptr, false)
                                                    : unit(*side, *bn_side, x, nullptr, true);
            if (!projection) x = shortcut;
            const ConvBnValue middle = unit(*first, *bn_first, x, nullptr, true);
            Value* out = unit(*second, *bn_second, middle, shortcut, true);
            return fc->build(tape, build_average_pool(tape, out, out->data.shape[1], 1));
        };
    };
}

class JoinedNode : public testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(JoinedNode, EqualsSeparateConvolutionAndBatchNorm) {
    const auto [projection, training] = GetParam();
    const Shape input{3, 8, 8, projection ? 16 : 32};
    Graph joined(input, training, residual_block(true, projection));
    Graph separate(input, training, residual_block(false, projection));
    joined.run();
    separate.run();
    EXPECT_LE(relative_difference(joined.logits(), separate.logits()), kReordered);
    if (training) {
        EXPECT_LE(relative_difference(joined.store().gradients(), separate.store().gradients()), kReordered);
    }
    for (std::size_t i = 0; i < joined.store().buffers().size(); ++i)
        EXPECT_LE(relative_difference(joined.store().buffers()[i].value, separate.store().buffers()[i].value),
                  kReordered);
}

INSTANTIATE_TEST_SUITE_P(Blocks, JoinedNode, testing::Combine(testing::Bool(), testing::Bool()));

TEST(Add, PassesItsGradientToBothSides) {
    // logits = fc(pool(x a + relu(x a))) with x a >= 0 made by a ReLU: then relu(h) = h and the gradient
    // doubles.
    const auto declare = [](bool doubled) {
        return [doubled](ParameterStore& store) -> Graph::Build {
            const auto conv =
                std::make_shared<Conv2d>(store, "a", Conv2d::Geometry{3, 16, 3, 1, 1}, Init::normal(1));
            const auto fc = std::make_shared<Linear>(store, "fc", 16, 10, Init::normal(1), Init::constant(0));
            return [=](Tape& tape, Value* x) {
                Value* h = build_relu(tape, conv->build(tape, x));
                if (doubled) h = build_add(tape, h, build_relu(tape, h));
                return fc->build(tape, build_average_pool(tape, h, 8, 1));
            };
        };
    };
    Graph twice({2, 8, 8, 3}, true, declare(true)), once({2, 8, 8, 3}, true, declare(false));
    // Doubling the branch equals doubling fc.weight: same logits, same gradient of the convolution.
    const auto& fc = once.store().parameters()[1];
    ASSERT_EQ(fc.name, "fc.weight");
    for (float& w : fc.value.span<float>()) w *= 2.0f;
    twice.run();
    once.run();
    EXPECT_LE(relative_difference(twice.logits(), once.logits()), kReordered);
    EXPECT_LE(relative_difference(twice.store().parameters()[0].grad, once.store().parameters()[0].grad),
              kReordered);
}

/// A whole network with its arenas.
struct WholeNetwork {
    WholeNetwork(const std::string& name, std::int64_t batch, bool training, bool dropout,
                 DType precision = DType::f32)
        : model(make_model(name, store)) {
        const auto lay_out = [&] {
            store.allocate(context, arena, precision);
            metrics = arena.allocate(DType::f64, {2});
            seed = arena.allocate(DType::i64, {1});
            step = arena.allocate(DType::i64, {1});
            network.emplace(context, arena, *model, store, batch, precision, training,
                            DropoutSource{seed, step, dropout}, metrics);
        };
        lay_out();
        arena.commit();
        lay_out();
        context.workspace().freeze();
        store.initialize(context, 1);
        *seed.as<std::int64_t>() = 7;
        *step.as<std::int64_t>() = 0;
        std::ranges::fill(metrics.span<double>(), 0.0);
        if (precision == DType::f32) fill_uniform(network->images(), 3, -2.0f, 2.0f);
        std::ranges::fill(network->labels().span<std::int32_t>(), 3);
    }
    Context context{kCpu, 2};
    Arena arena{kCpu, "test arena"};
    ParameterStore store;
    std::unique_ptr<Model> model;
    std::optional<Network> network;
    Tensor metrics, seed, step;
};

TEST(Network, MetricsAddUpAndLossStartsNearLogTen) {
    WholeNetwork run("resnet_8", 4, true, true);
    run.network->forward();
    const float loss = *run.network->loss().as<float>();
    EXPECT_NEAR(loss, std::log(10.0), 0.1);  // fc starts at N(0, 0.01): all classes about equally likely
    run.network->forward();
    EXPECT_NEAR(run.metrics.as<double>()[0], 2 * 4 * loss, 1e-4);
}

TEST(Network, EvaluationLeavesRunningStatisticsAlone) {
    WholeNetwork run("resnet_8", 4, false, true);
    run.network->forward();
    for (const auto& buffer : run.store.buffers())
        for (const float value : buffer.value.span<float>())
            ASSERT_EQ(value, buffer.name.ends_with("running_var") ? 1.0f : 0.0f);
}

TEST(Network, DropoutChangesWithTheStepAndOnlyInTraining) {
    WholeNetwork run("alexnet", 2, true, true);
    const auto logits = [&] {
        run.network->forward();
        const auto values = run.network->logits().span<float>();
        return std::vector<float>(values.begin(), values.end());
    };
    const auto first = logits();
    EXPECT_EQ(logits(), first);  // same step, same mask
    *run.step.as<std::int64_t>() = 1;
    EXPECT_NE(logits(), first);
    WholeNetwork evaluation("alexnet", 2, false, true), disabled("alexnet", 2, true, false);
    evaluation.network->forward();
    disabled.network->forward();
    EXPECT_LE(relative_difference(evaluation.network->logits(), disabled.network->logits()), kReordered);
}

}  // namespace
}  // namespace qstep

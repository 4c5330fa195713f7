// The end of a step on the GPU against the CPU.
#include <cmath>
#include <limits>

#include "kernels/step_end.h"
#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

class StepEndOnCuda : public test::OnBoth {
  protected:
    static constexpr std::int64_t kCount = 1000, kBatches = 3;
    static constexpr float kInfinity = std::numeric_limits<float>::infinity();
    static constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

    void SetUp() override {
        OnBoth::SetUp();
        if (IsSkipped()) return;
        gradient_.emplace(gpu(), DType::f32, Shape{kCount}, 1, 1.0);
        rates_.emplace(gpu(), DType::f32, Shape{kBatches}, 2, 1.0);
        floats_.emplace(gpu(), DType::f32, Shape{3});    // loss, loss at the fault, learning rate
        doubles_.emplace(gpu(), DType::f64, Shape{2});   // variance, sum of variances
        counters_.emplace(gpu(), DType::i64, Shape{4});  // fault, step, batch
        set(1.5f, 0.25, -1, 0);
    }
    void set(float loss, double variance, std::int64_t fault, std::int64_t batch) {
        const float floats[] = {loss, 7.0f, 0.5f};
        const double doubles[] = {variance, 2.0};
        const std::int64_t counters[] = {fault, fault, 40, batch};
        std::memcpy(floats_->cpu().data, floats, sizeof floats);
        std::memcpy(doubles_->cpu().data, doubles, sizeof doubles);
        std::memcpy(counters_->cpu().data, counters, sizeof counters);
    }
    void run() {
        for (auto* twin : {&gradient_, &rates_, &floats_, &doubles_, &counters_}) (*twin)->upload();
        QSTEP_ON_BOTH(c, end_step(c, end(c)));
        for (auto* twin : {&gradient_, &rates_, &floats_, &counters_}) (*twin)->expect_same_bits();
        doubles_->expect_guards();
        // A NaN that was computed has bits of the device's choice.
        const double got = doubles_->fetch().tensor().as<double>()[1];
        EXPECT_TRUE(got == doubles()[1] || (std::isnan(got) && std::isnan(doubles()[1]))) << got;
    }
    StepEnd end(const Context& c) {
        auto* floats = floats_->on(c).as<float>();
        auto* doubles = doubles_->on(c).as<double>();
        auto* counters = counters_->on(c).as<std::int64_t>();
        StepEnd end;
        end.loss = {floats, DType::f32, {1}};
        end.variance = {doubles, DType::f64, {1}};
        end.gradient = gradient_->on(c);
        end.variance_sum = {doubles + 1, DType::f64, {1}};
        end.fault = {counters, DType::i64, {2}};
        end.fault_loss = {floats + 1, DType::f32, {1}};
        end.step = {counters + 2, DType::i64, {1}};
        end.batch = {counters + 3, DType::i64, {1}};
        end.rates = rates_->on(c);
        end.learning_rate = {floats + 2, DType::f32, {1}};
        return end;
    }
    float* floats() { return floats_->cpu().as<float>(); }
    double* doubles() { return doubles_->cpu().as<double>(); }
    std::int64_t* counters() { return counters_->cpu().as<std::int64_t>(); }
    std::optional<Twin> gradient_, rates_, floats_, doubles_, counters_;
};

TEST_F(StepEndOnCuda, MovesOn) {
    run();
    EXPECT_EQ(counters()[0], -1);
    EXPECT_EQ(counters()[2], 41);
    EXPECT_EQ(counters()[3], 1);
    EXPECT_EQ(doubles()[1], 2.25);
    EXPECT_EQ(floats()[1], 7.0f);
    EXPECT_EQ(floats()[2], rates_->cpu().as<float>()[1]);
}

TEST_F(StepEndOnCuda, KeepsTheLearningRateBehindTheLastBatch) {
    set(1.5f, 0.25, -1, kBatches - 1);
    run();
    EXPECT_EQ(counters()[3], kBatches);
    EXPECT_EQ(floats()[2], 0.5f);
}

TEST_F(StepEndOnCuda, NotesTheFirstElementThatIsNotFinite) {
    for (const std::int64_t at : {0, 300, 999}) {
        gradient_->cpu().as<float>()[999] = kInfinity;
        gradient_->cpu().as<float>()[at] = -kInfinity;
        set(1.5f, kNan, -1, 0);
        run();
        EXPECT_EQ(counters()[0], 40);
        EXPECT_EQ(counters()[1], at);
        EXPECT_EQ(floats()[1], 1.5f);
        gradient_->cpu().as<float>()[at] = 0.0f;
    }
}

TEST_F(StepEndOnCuda, NotesALossThatIsNotFinite) {
    for (const float loss : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
        set(loss, 0.25, -1, 0);
        run();
        EXPECT_EQ(counters()[0], 40);
        EXPECT_EQ(counters()[1], -1);
    }
}

TEST_F(StepEndOnCuda, KeepsTheFirstFault) {
    set(kInfinity, kNan, 12, 0);
    run();
    EXPECT_EQ(counters()[0], 12);
    EXPECT_EQ(counters()[1], 12);
    EXPECT_EQ(floats()[1], 7.0f);
}

}  // namespace
}  // namespace qstep

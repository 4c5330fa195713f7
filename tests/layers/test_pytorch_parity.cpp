// Two training steps of each model against the same steps in PyTorch (float64), stored in tests/golden/.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/convert.h"
#include "kernels/sgd.h"
#include "layers/network.h"
#include "tests/layers/golden.h"

namespace qstep {
namespace {

// PyTorch's own float32 stays within 2e-6 (logits, loss) and 1e-5 (gradients) of its float64: rounding of
// about 2^-24 in sums of up to 4,096 products. These limits are the project's promise, five and ten times
// wider.
constexpr double kFloat32Outputs = 1e-5;    // logits, loss, running statistics
constexpr double kFloat32Gradients = 1e-4;  // gradients, and what the update makes of them

/// What bf16 may stray in the first step. Storing activations in 8 bits costs up to 2^-8 a rounding, and with
/// this few images a ReLU that turns over moves a gradient by far more, so no formula predicts the result.
/// The yardstick is PyTorch under torch.autocast(bfloat16), from the same start, against its own float64
/// (make_goldens.py prints it: logits .0079/.0045/.0090, median over the parameters' gradients
/// .310/.114/.066, all gradients as one vector .315/.090/.068, running statistics .0019); the limits are
/// twice that. The loss moves no more than the logits do.
struct Bf16Limits {
    double logits, median_gradient, whole_gradient;
};
const std::map<std::string, Bf16Limits> kBf16{
    {"resnet_20", {0.016, 0.62, 0.63}}, {"alexnet", {0.009, 0.23, 0.18}}, {"simple", {0.018, 0.13, 0.136}}};
constexpr double kBf16RunningStatistics = 0.0038;
/// An error of .63 that has nothing to do with the gradient makes it sqrt(1 + .63^2) = 1.18 times as long.
constexpr double kBf16Length = 0.2;

class Parity : public testing::TestWithParam<std::string> {
  protected:
    void start(DType precision) {
        precision_ = precision;
        golden_.emplace(model_name());
        recipe_.emplace(golden_->seed());
        model_ = make_model(model_name(), store_);
        lay_out();
        persistent_.commit();
        step_.commit();
        lay_out();
        context_.workspace().freeze();
        write_start();
    }
    const std::string& model_name() const { return GetParam(); }
    std::int64_t batch() const { return std::stoll(golden_->metadata("batch")); }

    void lay_out() {
        store_.allocate(context_, persistent_, precision_);
        metrics_ = persistent_.allocate(DType::f64, {2});
        lr_ = persistent_.allocate(DType::f32, {1});
        const DropoutSource no_dropout{.seed = {}, .step = {}, .enabled = false};
        network_.emplace(context_, step_, *model_, store_, batch(), precision_, true, no_dropout, metrics_);
    }
    void write_start() {
        std::uint32_t number = 0;
        for (const auto& parameter : store_.parameters()) {
            std::ranges::copy(recipe_->parameter(number, parameter), parameter.value.as<float>());
            std::ranges::copy(recipe_->momentum(number++, parameter.momentum.count()),
                              parameter.momentum.as<float>());
        }
        number = 0;
        for (const auto& buffer : store_.buffers())
            std::ranges::copy(recipe_->buffer(number++, buffer), buffer.value.as<float>());
        std::ranges::fill(metrics_.span<double>(), 0.0);
        *lr_.as<float>() = std::stof(golden_->metadata("lr"));
    }
    void run_step(int step) {
        std::vector<float> images = recipe_->images_nhwc(static_cast<std::uint32_t>(step), batch());
        convert(context_, network_->images(), {images.data(), DType::f32, network_->images().shape});
        std::ranges::copy(recipe_->labels(static_cast<std::uint32_t>(step), batch()),
                          network_->labels().as<std::int32_t>());
        network_->forward();
        network_->backward();
        sgd_update(
            context_, store_.values(), store_.momentum(), store_.gradients(), lr_,
            {std::stof(golden_->metadata("momentum")), std::stof(golden_->metadata("weight_decay")), false});
    }
    double error(int step, const std::string& kind, const std::string& name, std::uint32_t number,
                 const Tensor& found) {
        std::vector<float> values(static_cast<std::size_t>(found.count()));
        convert(context_, {values.data(), DType::f32, found.shape}, found);
        return golden_->relative_error(step, kind, name, number, values);
    }
    void expect_float32_step(int step) {
        EXPECT_LE(error(step, "logits", "", 0, network_->logits()), kFloat32Outputs) << "step " << step;
        EXPECT_LE(error(step, "loss", "", 0, network_->loss()), kFloat32Outputs) << "step " << step;
        std::uint32_t number = 0;
        for (const auto& parameter : store_.parameters()) {
            const std::string& name = parameter.name;
            EXPECT_LE(error(step, "grad", name, number, parameter.grad), kFloat32Gradients)
                << name << ", step " << step;
            EXPECT_LE(error(step, "param_after", name, number, parameter.value), kFloat32Gradients) << name;
            EXPECT_LE(error(step, "momentum_after", name, number, parameter.momentum), kFloat32Gradients)
                << name;
            ++number;
        }
        for (const auto& buffer : store_.buffers())
            EXPECT_LE(error(step, "buffer_after", buffer.name, 0, buffer.value), kFloat32Outputs)
                << buffer.name;
    }

    Context context_{{DeviceKind::cpu, 0}};
    Arena persistent_{{DeviceKind::cpu, 0}, "persistent arena"};
    Arena step_{{DeviceKind::cpu, 0}, "step arena"};
    ParameterStore store_;
    std::unique_ptr<Model> model_;
    std::optional<golden::Golden> golden_;
    std::optional<golden::Recipe> recipe_;
    std::optional<Network> network_;
    Tensor metrics_, lr_;
    DType precision_ = DType::f32;
};

TEST_P(Parity, TwoFloat32StepsAreThoseOfPyTorch) {
    start(DType::f32);
    for (int step = 0; step < std::stoi(golden_->metadata("steps")); ++step) {
        run_step(step);
        expect_float32_step(step);
    }
}

TEST_P(Parity, ABf16StepStraysNoMoreThanTwicePyTorchs) {
    start(DType::bf16);
    run_step(0);
    EXPECT_LE(error(0, "logits", "", 0, network_->logits()), kBf16.at(model_name()).logits);
    EXPECT_LE(error(0, "loss", "", 0, network_->loss()), kBf16.at(model_name()).logits);
    for (const auto& buffer : store_.buffers())
        EXPECT_LE(error(0, "buffer_after", buffer.name, 0, buffer.value), kBf16RunningStatistics);
    std::vector<double> errors;
    double error_square = 0.0, right_square = 0.0, found_square = 0.0;
    for (const auto& parameter : store_.parameters()) {
        const auto number = static_cast<std::uint32_t>(errors.size());
        errors.push_back(error(0, "grad", parameter.name, number, parameter.grad));
        const double norm = golden_->norm(0, "grad", parameter.name);
        error_square += errors.back() * errors.back() * norm * norm;
        right_square += norm * norm;
        for (const float value : parameter.grad.span<float>()) found_square += double{value} * value;
    }
    std::ranges::nth_element(errors, errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2));
    EXPECT_LE(errors[errors.size() / 2], kBf16.at(model_name()).median_gradient);
    EXPECT_LE(std::sqrt(error_square / right_square), kBf16.at(model_name()).whole_gradient);
    EXPECT_NEAR(std::sqrt(found_square / right_square), 1.0, kBf16Length);
}

INSTANTIATE_TEST_SUITE_P(Models, Parity, testing::Values("resnet_20", "alexnet", "simple"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace qstep

// Two training steps of each model against the same steps in PyTorch (float64), stored in tests/golden/.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/convert.h"
#include "kernels/sgd.h"
#include "layers/network.h"
#include "tests/layers/golden.h"

namespace qstep {
namespace {

/// What a relative error may be at most, by kind of tensor.
struct Tolerances {
    double logits, loss, gradient, updated, buffer;
};
// PyTorch's own float32 stays within 2e-6 (logits, loss) and 1e-5 (gradients) of its float64: rounding of
// about 2^-24 in sums of up to 576 products, through 20 layers. These are the project's promise, a few times
// wider.
constexpr Tolerances kFloat32{1e-5, 1e-5, 1e-4, 1e-4, 1e-5};
// Activations and their gradients carry 8 bits (2^-9 = 2e-3 a rounding).
constexpr Tolerances kBf16{2e-2, 1e-2, 1e-1, 1e-1, 2e-2};

class Parity : public testing::TestWithParam<std::tuple<std::string, DType>> {
  protected:
    void SetUp() override {
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
    std::string model_name() const { return std::get<0>(GetParam()); }
    DType precision() const { return std::get<1>(GetParam()); }
    std::int64_t batch() const { return std::stoll(golden_->metadata("batch")); }

    void lay_out() {
        store_.allocate(persistent_);
        metrics_ = persistent_.allocate(DType::f64, {2});
        lr_ = persistent_.allocate(DType::f32, {1});
        const DropoutSource no_dropout{.seed = 0, .step = {}, .enabled = false};
        network_.emplace(context_, step_, *model_, batch(), precision(), true, no_dropout, metrics_);
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
    void expect_close(int step, const std::string& kind, const std::string& name, std::uint32_t number,
                      const Tensor& found, double tolerance) {
        std::vector<float> values(static_cast<std::size_t>(found.count()));
        convert(context_, {values.data(), DType::f32, found.shape}, found);
        const double error = golden_->relative_error(step, kind, name, number, values);
        EXPECT_LE(error, tolerance) << "step " << step << " " << kind << " " << name;
        worst_[kind] = std::max(worst_[kind], error);
    }
    void expect_step(int step, const Tolerances& limit) {
        expect_close(step, "logits", "", 0, network_->logits(), limit.logits);
        expect_close(step, "loss", "", 0, network_->loss(), limit.loss);
        std::uint32_t number = 0;
        for (const auto& parameter : store_.parameters()) {
            expect_close(step, "grad", parameter.name, number, parameter.grad, limit.gradient);
            expect_close(step, "param_after", parameter.name, number, parameter.value, limit.updated);
            expect_close(step, "momentum_after", parameter.name, number++, parameter.momentum,
                         limit.gradient);
        }
        for (const auto& buffer : store_.buffers())
            expect_close(step, "buffer_after", buffer.name, 0, buffer.value, limit.buffer);
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
    std::map<std::string, double> worst_;
};

TEST_P(Parity, TwoTrainingStepsAreThoseOfPyTorch) {
    const Tolerances& limit = precision() == DType::f32 ? kFloat32 : kBf16;
    for (int step = 0; step < std::stoi(golden_->metadata("steps")); ++step) {
        run_step(step);
        expect_step(step, limit);
    }
    for (const auto& [kind, error] : worst_) RecordProperty(kind, fmt::format("{:.2e}", error));
    if (HasFailure())
        for (const auto& [kind, error] : worst_) fmt::print("worst {}: {:.2e}\n", kind, error);
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         testing::Combine(testing::Values("resnet_20", "alexnet", "simple"),
                                          testing::Values(DType::f32, DType::bf16)),
                         [](const auto& info) {
                             return std::get<0>(info.param) + "_" + name_of(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace qstep

// What cifar_train --dump-step writes.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/apps/cifar_train_fixture.h"

namespace qstep {
namespace {

class DumpStep : public CifarTrain {
  protected:
    std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
        const auto& entry = file.entries().at(name);
        EXPECT_EQ(entry.dtype, DType::f32) << name;
        std::vector<float> values(entry.bytes() / sizeof(float));
        file.read(entry, std::as_writable_bytes(std::span(values)));
        return values;
    }
};

TEST_F(DumpStep, HoldsAStepThatCanBeRedone) {
    run_well(
        "--data cifar --model resnet_8 --quant standard --batch-size 16 --threads 2 --nesterov --max-steps 2 "
        "--dump-step dump");
    const SafetensorsFile file(in("dump"));
    EXPECT_FALSE(exists("runs"));
    EXPECT_EQ(file.metadata().at("dropout"), "0");
    EXPECT_EQ(file.metadata().at("step"), "1");
    EXPECT_EQ(file.metadata().at("quant"), "standard");
    using Extents = std::vector<std::int64_t>;
    EXPECT_EQ(file.entries().at("input").shape, (Extents{16, 3, 32, 32}));
    EXPECT_EQ(file.entries().at("labels").dtype, DType::i64);
    EXPECT_EQ(file.entries().at("labels").shape, (Extents{16}));
    EXPECT_EQ(file.entries().at("logits").shape, (Extents{16, 10}));
    EXPECT_EQ(file.entries().at("loss").shape, (Extents{}));
    EXPECT_EQ(file.entries().at("buffer_after.bn1.running_mean").shape, (Extents{16}));
    EXPECT_NE(floats(file, "buffer_before.bn1.running_mean"), floats(file, "buffer_after.bn1.running_mean"));
    EXPECT_NE(floats(file, "grad.conv1.weight"), floats(file, "quantized_grad.conv1.weight"));

    const double lr = std::stod(file.metadata().at("lr")),
                 momentum = std::stod(file.metadata().at("momentum"));
    const double decay = std::stod(file.metadata().at("weight_decay"));
    // A handful of float roundings of values near the size of the result.
    constexpr double kRounding = 1e-6;
    const auto p = floats(file, "param_before.layer1.0.conv1.weight");
    const auto m = floats(file, "momentum_before.layer1.0.conv1.weight");
    const auto g = floats(file, "quantized_grad.layer1.0.conv1.weight");
    const auto p_after = floats(file, "param_after.layer1.0.conv1.weight");
    const auto m_after = floats(file, "momentum_after.layer1.0.conv1.weight");
    for (std::size_t i = 0; i < p.size(); ++i) {
        const double d = g[i] + decay * p[i];
        const double moved = momentum * m[i] + d;
        EXPECT_NEAR(m_after[i], moved,
                    kRounding * (std::abs(moved) + std::abs(d) + std::abs(momentum * m[i])));
        EXPECT_NEAR(p_after[i], p[i] - lr * (d + momentum * moved),
                    kRounding * (std::abs(p[i]) + std::abs(d)));
    }
}

TEST_F(DumpStep, HoldsTheResidual) {
    run_well(
        "--data cifar --model simple --quant standard --levels 4 --error-feedback --ef-beta 0.5 "
        "--batch-size 16 --threads 2 --max-steps 3 --dump-step dump");
    const SafetensorsFile file(in("dump"));
    EXPECT_EQ(file.metadata().at("error_feedback"), "1");
    EXPECT_EQ(file.metadata().at("ef_alpha"), "1");
    EXPECT_EQ(file.metadata().at("ef_beta"), "0.5");
    const auto before = floats(file, "residual_before.fc2.weight"),
               after = floats(file, "residual_after.fc2.weight");
    const auto g = floats(file, "grad.fc2.weight"), q = floats(file, "quantized_grad.fc2.weight");
    for (std::size_t i = 0; i < g.size(); ++i) ASSERT_EQ(after[i], 0.5f * before[i] + (g[i] - q[i]));
    EXPECT_TRUE(std::ranges::any_of(before, [](float h) { return h != 0.0f; }));
}

TEST_F(DumpStep, LossIsThatOfTheLogits) {
    run_well("--data cifar --model simple --precision bf16 --batch-size 16 --threads 2 --dump-step dump");
    const SafetensorsFile file(in("dump"));
    const auto logits = floats(file, "logits");
    std::vector<std::int64_t> labels(16);
    file.read(file.entries().at("labels"), std::as_writable_bytes(std::span(labels)));
    double loss = 0.0;
    for (std::size_t n = 0; n < labels.size(); ++n) {
        double sum = 0.0;
        for (std::size_t k = 0; k < 10; ++k) sum += std::exp(static_cast<double>(logits[n * 10 + k]));
        loss += std::log(sum) - logits[n * 10 + static_cast<std::size_t>(labels[n])];
    }
    // The stored loss is a float.
    EXPECT_NEAR(floats(file, "loss").at(0), loss / 16.0, 1e-6);
    EXPECT_EQ(floats(file, "grad.conv1.weight"), floats(file, "quantized_grad.conv1.weight"));
    EXPECT_EQ(file.metadata().at("precision"), "bf16");
}

}  // namespace
}  // namespace qstep

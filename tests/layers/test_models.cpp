// Models: parameter counts, names, order, shapes and starting values.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "layers/model.h"

namespace qstep {
namespace {

const Device kCpu{DeviceKind::cpu, 0};

/// A model with its parameters allocated and initialised.
struct Built {
    explicit Built(const std::string& name) : model(make_model(name, store)) {
        store.allocate(context, arena, DType::f32);
        arena.commit();
        store.allocate(context, arena, DType::f32);
    }
    const ParameterStore::Parameter& find(const std::string& name) const {
        for (const auto& parameter : store.parameters())
            if (parameter.name == name) return parameter;
        throw std::runtime_error("no parameter " + name);
    }
    Context context{kCpu, 1};
    Arena arena{kCpu, "parameters"};
    ParameterStore store;
    std::unique_ptr<Model> model;
};

TEST(Models, HaveThePublishedParameterCounts) {
    EXPECT_EQ(Built("resnet_20").store.parameter_count(), 272'474);
    EXPECT_EQ(Built("alexnet").store.parameter_count(), 23'272'266);
    EXPECT_EQ(Built("simple").store.parameter_count(), 62'006);
}

TEST(Models, AnyDepthThatFitsIsAResNet) {
    // Each more block per stage adds 2 * 9 * (16^2 + 32^2 + 64^2) weights and 4 * (16 + 32 + 64) batch-norm
    // values.
    EXPECT_EQ(Built("resnet_26").store.parameter_count() - Built("resnet_20").store.parameter_count(),
              18 * (256 + 1024 + 4096) + 4 * 112);
    for (const char* wrong :
         {"resnet_21", "resnet_2", "resnet_", "resnet_20x", "resnet_-4", "resnet_9999999999"})
        EXPECT_THROW(Built{wrong}, Error) << wrong;
}

TEST(Models, AnUnknownNameIsAnsweredWithTheNearest) {
    try {
        Built built("alexnett");
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
        EXPECT_NE(std::string(error.what()).find("did you mean alexnet"), std::string::npos) << error.what();
    }
}

TEST(Models, ResNetNamesAreThoseOfThePyTorchModuleInItsOrder) {
    const Built resnet("resnet_20");
    std::vector<std::string> block;
    for (const auto& parameter : resnet.store.parameters())
        if (parameter.name.starts_with("layer2.0.")) block.push_back(parameter.name.substr(9));
    EXPECT_EQ(block, (std::vector<std::string>{"conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight",
                                               "bn2.weight", "bn2.bias", "downsample.0.weight",
                                               "downsample.1.weight", "downsample.1.bias"}));
    EXPECT_EQ(resnet.store.parameters().front().name, "conv1.weight");
    EXPECT_EQ(resnet.store.parameters().back().name, "fc.bias");
    EXPECT_EQ(resnet.find("layer2.0.downsample.0.weight").value.shape, Shape({32, 16, 1, 1}));
    EXPECT_EQ(resnet.find("layer3.2.conv2.weight").value.shape, Shape({64, 64, 3, 3}));
    std::vector<std::string> buffers;
    for (const auto& buffer : resnet.store.buffers()) buffers.push_back(buffer.name);
    EXPECT_EQ(buffers.size(), 2u * 21);
    EXPECT_NE(std::ranges::find(buffers, "layer1.0.bn2.running_mean"), buffers.end());
}

TEST(Models, AlexNetAndSimpleNamesAreThoseOfThePyTorchModules) {
    const Built alexnet("alexnet");
    EXPECT_EQ(alexnet.find("features.0.weight").value.shape, Shape({64, 3, 3, 3}));
    EXPECT_EQ(alexnet.find("classifier.1.weight").value.shape, Shape({4096, 1024}));
    EXPECT_EQ(alexnet.find("classifier.6.bias").value.shape, Shape({10}));
    const Built simple("simple");
    EXPECT_EQ(simple.find("conv2.weight").value.shape, Shape({16, 6, 5, 5}));
    EXPECT_EQ(simple.find("fc1.weight").value.shape, Shape({120, 400}));
}

TEST(Models, ParametersLieInOneFlatBufferInOrder) {
    const Built simple("simple");
    std::int64_t offset = 0;
    for (const auto& parameter : simple.store.parameters()) {
        EXPECT_EQ(parameter.offset, offset);
        EXPECT_EQ(parameter.value.as<float>(), simple.store.values().as<float>() + offset);
        EXPECT_EQ(parameter.grad.as<float>(), simple.store.gradients().as<float>() + offset);
        EXPECT_EQ(&simple.store.parameter_at(offset), &parameter);
        offset += parameter.value.count();
        EXPECT_EQ(&simple.store.parameter_at(offset - 1), &parameter);
    }
    EXPECT_EQ(offset, simple.store.parameter_count());
    EXPECT_THROW(simple.store.parameter_at(offset), Error);
}

double standard_deviation(std::span<const float> values) {
    double squares = 0.0;
    for (const float value : values) squares += static_cast<double>(value) * value;
    return std::sqrt(squares / static_cast<double>(values.size()));
}

TEST(Models, StartingValuesFollowTheHarness) {
    Built resnet("resnet_20");
    resnet.store.initialize(resnet.context, 1);
    const auto conv = resnet.find("layer3.2.conv2.weight").value.span<float>();
    // A sample standard deviation of n normals strays by sigma / sqrt(2n); five of those.
    const double sigma = std::sqrt(2.0 / (9 * 64));
    EXPECT_NEAR(standard_deviation(conv), sigma,
                5 * sigma / std::sqrt(2.0 * static_cast<double>(conv.size())));
    EXPECT_NEAR(std::accumulate(conv.begin(), conv.end(), 0.0) / static_cast<double>(conv.size()), 0.0,
                5 * sigma / std::sqrt(static_cast<double>(conv.size())));
    const auto fc = resnet.find("fc.weight").value.span<float>();
    EXPECT_NEAR(standard_deviation(fc), 0.01, 5 * 0.01 / std::sqrt(2.0 * static_cast<double>(fc.size())));
    for (const float value : resnet.find("layer1.0.bn1.weight").value.span<float>()) EXPECT_EQ(value, 1.0f);
    for (const float value : resnet.find("layer1.0.bn2.weight").value.span<float>()) EXPECT_EQ(value, 0.0f);
    for (const float value : resnet.find("fc.bias").value.span<float>()) EXPECT_EQ(value, 0.0f);
    for (const auto& buffer : resnet.store.buffers())
        for (const float value : buffer.value.span<float>())
            EXPECT_EQ(value, buffer.name.ends_with("running_var") ? 1.0f : 0.0f);
    for (const float value : resnet.store.momentum().span<float>()) ASSERT_EQ(value, 0.0f);
}

TEST(Models, PyTorchDefaultIsUniformWithinOneOverRootFanIn) {
    Built simple("simple");
    simple.store.initialize(simple.context, 1);
    for (const auto& [name, fan_in] :
         {std::pair{"fc1.weight", 400.0}, {"fc1.bias", 400.0}, {"conv2.weight", 150.0}}) {
        const double bound = 1.0 / std::sqrt(fan_in);
        const auto values = simple.find(name).value.span<float>();
        for (const float value : values) EXPECT_LE(std::abs(value), bound) << name;
        // The variance of U(-b,b) is b^2/3 and of its square 4 b^4 / 45; five sigma.
        const double strays = 5 * bound * bound * std::sqrt(4.0 / 45 / static_cast<double>(values.size()));
        EXPECT_NEAR(std::pow(standard_deviation(values), 2), bound * bound / 3, strays) << name;
    }
}

TEST(Models, SameSeedSameStartOtherSeedAnother) {
    Built a("simple"), b("simple");
    a.store.initialize(a.context, 5);
    b.store.initialize(b.context, 5);
    const auto va = a.store.values().span<float>(), vb = b.store.values().span<float>();
    EXPECT_TRUE(std::ranges::equal(va, vb));
    b.store.initialize(b.context, 6);
    EXPECT_FALSE(std::ranges::equal(va, vb));
}

}  // namespace
}  // namespace qstep

#include "train/checkpoint.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "layers/model.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

// Parameters of a model in memory of their own.
struct Parameters {
    explicit Parameters(const std::string& model_name, std::uint64_t seed, bool keep_residual = false)
        : context({}, 1), arena({}, "test arena"), model(make_model(model_name, store)) {
        if (keep_residual) store.keep_residual();
        store.allocate(context, arena, DType::f32);
        arena.commit();
        store.allocate(context, arena, DType::f32);
        store.initialize(context, seed);
        for (float& value : store.momentum().span<float>()) value = static_cast<float>(++drawn) * 0x1p-20f;
        for (const auto& buffer : store.buffers())
            for (float& value : buffer.value.span<float>()) value = static_cast<float>(++drawn);
        if (keep_residual)
            for (float& value : store.residual().span<float>()) value = static_cast<float>(++drawn) * 0x1p-9f;
    }
    std::vector<float> all() const {
        std::vector<float> values;
        const auto take = [&](const Tensor& tensor) {
            const auto span = tensor.span<float>();
            values.insert(values.end(), span.begin(), span.end());
        };
        take(store.values());
        take(store.momentum());
        for (const auto& buffer : store.buffers()) take(buffer.value);
        if (store.residual()) take(store.residual());
        return values;
    }

    Context context;
    Arena arena;
    ParameterStore store;
    std::unique_ptr<Model> model;
    std::int64_t drawn = 0;
};

Progress some_progress() {
    Progress progress;
    progress.epoch = 2;
    progress.batch = 3;
    progress.step = 23;
    progress.data = "48 training images";
    progress.fingerprint = "0123456789abcdef-fedcba9876543210";
    progress.loss_sum = 1.0 / 3.0;
    progress.right = 17;
    progress.images = 48;
    progress.variance_sum = 0.1 + 0.2;
    progress.last = EpochMetrics{2, 20, 0.1, 1.5, 40.0, 1.25, 50.5, 0.125};
    progress.best = EpochMetrics{1, 10, 0.1, 1.6, 39.0, 1.24, 51.5, 0.126};
    return progress;
}

class Checkpoints : public testing::Test {
  protected:
    Checkpoints() {
        options_.model = "resnet_8";
        options_.seed = 7;
    }
    std::filesystem::path path() const { return folder_.path() / "checkpoint.safetensors"; }
    void save(const Parameters& parameters) {
        save_checkpoint(path(), const_cast<Context&>(parameters.context), parameters.store, options_,
                        some_progress());
    }
    // The file's tensors and metadata, changed by `edit`, written again.
    void rewrite(const std::function<void(Metadata&, std::vector<TensorToWrite>&)>& edit) {
        std::vector<std::vector<std::byte>> data;
        std::vector<TensorToWrite> tensors;
        Metadata metadata;
        {
            const SafetensorsFile file(path());
            metadata = file.metadata();
            for (const auto& [name, entry] : file.entries()) {
                data.emplace_back(entry.bytes());
                file.read(entry, data.back());
                tensors.push_back({name, entry.dtype, entry.shape, {}});
            }
            for (std::size_t i = 0; i < tensors.size(); ++i) tensors[i].data = data[i];
        }
        edit(metadata, tensors);
        write_safetensors(path(), metadata, tensors);
    }
    std::string refusal(const std::string& model = "resnet_8", bool keep_residual = false) {
        Parameters target(model, 1, keep_residual);
        const std::vector<float> before = target.all();
        try {
            Checkpoint(path()).load(target.context, target.store, true);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            EXPECT_EQ(target.all(), before) << "something was changed before everything was checked";
            return error.what();
        }
        return "accepted";
    }

    TemporaryFolder folder_;
    Options options_;
};

TEST_F(Checkpoints, ComeBackBitwise) {
    const Parameters source("resnet_8", 7);
    save(source);
    const Checkpoint checkpoint(path());
    EXPECT_EQ(checkpoint.model(), "resnet_8");
    EXPECT_TRUE(checkpoint.can_resume());
    Parameters target("resnet_8", 1);
    ASSERT_NE(target.all(), source.all());
    checkpoint.load(target.context, target.store, true);
    EXPECT_EQ(target.all(), source.all());
    const Progress progress = checkpoint.progress(), expected = some_progress();
    EXPECT_EQ(progress.epoch, expected.epoch);
    EXPECT_EQ(progress.batch, expected.batch);
    EXPECT_EQ(progress.step, expected.step);
    EXPECT_EQ(progress.data, expected.data);
    EXPECT_EQ(progress.fingerprint, expected.fingerprint);
    EXPECT_EQ(progress.loss_sum, expected.loss_sum);
    EXPECT_EQ(progress.right, expected.right);
    EXPECT_EQ(progress.images, expected.images);
    EXPECT_EQ(progress.variance_sum, expected.variance_sum);
    EXPECT_EQ(progress.last->test_accuracy, 50.5);
    EXPECT_EQ(progress.best->epoch, 1);
    Options options;
    from_json(options, checkpoint.configuration());
    EXPECT_EQ(options.seed, 7u);
}

TEST_F(Checkpoints, HavePyTorchsNames) {
    save(Parameters("resnet_8", 7));
    const SafetensorsFile file(path());
    for (const char* name : {"conv1.weight", "layer2.0.downsample.0.weight", "layer1.0.bn2.running_mean",
                             "fc.bias", "momentum.fc.bias"})
        EXPECT_TRUE(file.entries().contains(name)) << name;
    EXPECT_EQ(file.entries().at("conv1.weight").shape, (std::vector<std::int64_t>{16, 3, 3, 3}));
    EXPECT_EQ(file.metadata().at("step"), "23");
    EXPECT_EQ(file.metadata().at("seed"), "7");
}

TEST_F(Checkpoints, ModelFilesHoldWeightsAlone) {
    Parameters source("resnet_8", 7);
    save_model(path(), source.context, source.store, options_);
    const Checkpoint file(path());
    EXPECT_FALSE(file.can_resume());
    Parameters target("resnet_8", 1);
    file.load(target.context, target.store, false);
    EXPECT_TRUE(std::ranges::equal(target.store.values().span<float>(), source.store.values().span<float>()));
    EXPECT_FALSE(SafetensorsFile(path()).entries().contains("momentum.fc.bias"));
}

// As other programs write them.
TEST_F(Checkpoints, ModelFilesNeedNoConfiguration) {
    const Parameters source("resnet_8", 7);
    const auto forget = [](Metadata& metadata, auto&) { EXPECT_EQ(metadata.erase("configuration"), 1u); };
    save_model(path(), const_cast<Context&>(source.context), source.store, options_);
    rewrite(forget);
    const Checkpoint file(path());
    EXPECT_EQ(file.configuration().at("model"), "resnet_8");
    EXPECT_EQ(file.configuration().at("lr"), Options{}.lr);
    rewrite([](Metadata& metadata, auto&) { metadata["model"] = "resnet_9"; });
    EXPECT_NE(refusal().find("is not a usable checkpoint: a ResNet"), std::string::npos) << refusal();
    save(source);
    rewrite(forget);
    EXPECT_NE(refusal().find("its metadata has no 'configuration'"), std::string::npos) << refusal();
}

TEST_F(Checkpoints, HoldTheResidualOfErrorFeedback) {
    const Parameters source("resnet_8", 7, true);
    save(source);
    EXPECT_EQ(SafetensorsFile(path()).entries().at("residual.conv1.weight").shape,
              (std::vector<std::int64_t>{16, 3, 3, 3}));
    Parameters target("resnet_8", 1, true);
    Checkpoint(path()).load(target.context, target.store, true);
    EXPECT_EQ(target.all(), source.all());
    // Evaluation takes neither momentum nor residual.
    Parameters evaluated("resnet_8", 1, true);
    const float first = evaluated.store.residual().as<float>()[0];
    Checkpoint(path()).load(evaluated.context, evaluated.store, false);
    EXPECT_EQ(evaluated.store.residual().as<float>()[0], first);
    EXPECT_NE(refusal().find("'residual.bn1.bias', which the model does not know"), std::string::npos)
        << refusal();
    save(Parameters("resnet_8", 7));
    EXPECT_NE(refusal("resnet_8", true).find("no tensor 'residual.conv1.weight'"), std::string::npos);
}

// A file of before error feedback existed.
TEST_F(Checkpoints, OptionsThatAreNewerThanTheFileHaveTheirDefault) {
    save(Parameters("resnet_8", 7));
    rewrite([](Metadata& metadata, auto&) {
        auto configuration = nlohmann::ordered_json::parse(metadata["configuration"]);
        EXPECT_EQ(configuration.erase("error-feedback"), 1u);
        metadata["configuration"] = configuration.dump();
    });
    EXPECT_EQ(Checkpoint(path()).configuration().at("error-feedback"), false);
    EXPECT_EQ(refusal(), "accepted");
}

// A file of before fingerprints existed.
TEST_F(Checkpoints, NeedNoFingerprint) {
    save(Parameters("resnet_8", 7));
    rewrite([](Metadata& metadata, auto&) {
        auto progress = nlohmann::ordered_json::parse(metadata["progress"]);
        EXPECT_EQ(progress.erase("fingerprint"), 1u);
        metadata["progress"] = progress.dump();
    });
    EXPECT_EQ(Checkpoint(path()).progress().fingerprint, "");
    EXPECT_EQ(Checkpoint(path()).progress().step, 23);
    EXPECT_EQ(refusal(), "accepted");
}

TEST_F(Checkpoints, RefusesTensorsThatAreNotTheModels) {
    const Parameters source("resnet_8", 7);
    save(source);
    EXPECT_EQ(refusal(), "accepted");
    EXPECT_NE(refusal("resnet_14").find("has no tensor 'layer1.1.conv1.weight'"), std::string::npos)
        << refusal();
    EXPECT_NE(refusal("simple").find("the model needs"), std::string::npos);
    rewrite([](Metadata&, auto& tensors) {
        std::erase_if(tensors, [](const TensorToWrite& tensor) { return tensor.name == "momentum.fc.bias"; });
    });
    EXPECT_NE(refusal().find("has no tensor 'momentum.fc.bias'"), std::string::npos) << refusal();
    save(source);
    rewrite([](Metadata&, auto& tensors) { tensors.push_back({"extra", DType::f32, {0}, {}}); });
    EXPECT_NE(refusal().find("'extra'"), std::string::npos) << refusal();
    save(source);
    rewrite([](Metadata&, auto& tensors) {
        for (TensorToWrite& tensor : tensors)
            if (tensor.name == "fc.weight") tensor.shape = {64, 10};
    });
    EXPECT_NE(refusal().find("'fc.weight' as f32 [64,10]"), std::string::npos) << refusal();
    save(source);
    rewrite([](Metadata&, auto& tensors) {
        for (TensorToWrite& tensor : tensors)
            if (tensor.name == "fc.weight") tensor.dtype = DType::i32;
    });
    EXPECT_NE(refusal().find("as i32"), std::string::npos) << refusal();
}

TEST_F(Checkpoints, RefusesMetadataItDidNotWrite) {
    const Parameters source("resnet_8", 7);
    const auto expect_refused = [&](const char* key, const char* value, const std::string& part) {
        save(source);
        rewrite([&](Metadata& metadata, auto&) {
            if (value == nullptr)
                metadata.erase(key);
            else
                metadata[key] = value;
        });
        EXPECT_NE(refusal().find(part), std::string::npos) << key << ": " << refusal();
    };
    expect_refused("format", nullptr, "no 'format'");
    expect_refused("format", "pt", "format is 'pt'");
    expect_refused("format_version", "2", "format version 2");
    // One line, whatever the file says.
    expect_refused("format", "p\nt", "format is 'p?t'");
    expect_refused("format_version", "2\n", "format version 2?");
    expect_refused("model", "sim\nple", "two models, sim?ple");
    expect_refused("model", "simple", "two models");
    expect_refused("configuration", "{", "metadata");
    expect_refused("configuration", "{}", "lacks");
    expect_refused("progress", "{}", "metadata");
    expect_refused("progress", "[1]", "metadata");
    for (const char* counts :
         {R"("epoch":-1,"batch":0,"step":0,"images":0)", R"("epoch":0,"batch":-1,"step":0,"images":0)",
          R"("epoch":0,"batch":0,"step":-1,"images":0)", R"("epoch":0,"batch":0,"step":0,"images":-1)"})
        expect_refused(
            "progress",
            fmt::format(R"({{{},"loss_sum":0,"right":0,"variance_sum":0,"data":""}})", counts).c_str(),
            "negative");
    expect_refused(
        "progress",
        R"({"epoch":1e300,"batch":0,"step":0,"loss_sum":0,"right":0,"images":0,"variance_sum":0,"data":""})",
        "whole number of 'epoch'");
    expect_refused(
        "progress",
        R"({"epoch":0,"batch":2,"step":2,"loss_sum":0,"right":0,"images":0,"variance_sum":0,"data":""})",
        "2 steps and 0 images");
    expect_refused("metrics", R"({"last":{"epoch":"x"}})", "metadata");
}

}  // namespace
}  // namespace qstep

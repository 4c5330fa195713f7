// Training steps of a session whose data lie on the GPU: against the CPU, and against themselves in every way
// in which they can be launched.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "data/synthetic.h"
#include "engine/backend.h"
#include "engine/error.h"
#include "train/feed.h"

namespace qstep {
namespace {

// Whole batches enough for one launch of several steps and a rest, and a partial batch.
constexpr std::int64_t kTrain = 25, kTest = 11, kBatch = 2, kBatches = 13;

const DataSplits& data() {
    static const DataSplits splits = make_synthetic(kTrain, kTest);
    return splits;
}

SessionSettings settings_for(const std::string& model, CodecKind codec, bool on_gpu) {
    SessionSettings settings;
    settings.model = model;
    settings.codec.kind = codec;
    settings.seed = 3;
    settings.train_batch = kBatch;
    settings.test_batch = 4;
    settings.train_count = kTrain;
    settings.test_count = kTest;
    settings.resident = on_gpu ? &data() : nullptr;
    return settings;
}

template <typename T = float>
std::vector<T> fetch(Context& context, const Tensor& tensor) {
    std::vector<T> values(static_cast<std::size_t>(tensor.count()));
    backend(context.device()).copy_out(context, values.data(), tensor.data, tensor.bytes());
    return values;
}

double norm(const std::vector<float>& values) {
    double sum = 0.0;
    for (const float value : values) sum += static_cast<double>(value) * value;
    return std::sqrt(sum);
}

std::vector<float> difference(std::vector<float> a, const std::vector<float>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
    return a;
}

/// A context, a session in it, and its feed.
struct Training {
    Training(const SessionSettings& settings, bool eager = false)
        : context(settings.resident ? Device{DeviceKind::cuda, 0} : Device{}, 1, {.deterministic = true}) {
        context.set_eager(eager);
        session.emplace(context, settings);
        feed = make_feed(*session, data());
    }
    void start(std::int64_t epoch, std::int64_t batch = 0, const EpochSums& sums = {}) {
        std::vector<float> rates;
        for (std::int64_t b = 0; b < kBatches; ++b)
            rates.push_back(0.01f / static_cast<float>(1 + epoch * kBatches + b));
        feed->start_epoch({epoch, batch, rates, sums});
    }
    /// Steps in launches of at most `most`.
    void train(std::int64_t steps, std::int64_t most) {
        while (steps > 0) steps -= feed->train(std::min(steps, most));
    }
    /// Everything that a step changes for the next one.
    std::vector<float> state() {
        std::vector<float> all = fetch(context, session->parameters().values());
        for (const Tensor& more : {session->parameters().momentum(), session->parameters().gradients()}) {
            const std::vector<float> values = fetch(context, more);
            all.insert(all.end(), values.begin(), values.end());
        }
        for (const auto& buffer : session->parameters().buffers()) {
            const std::vector<float> values = fetch(context, buffer.value);
            all.insert(all.end(), values.begin(), values.end());
        }
        if (const Tensor residual = session->parameters().residual()) {
            const std::vector<float> values = fetch(context, residual);
            all.insert(all.end(), values.begin(), values.end());
        }
        const EpochSums sums = feed->look().sums;
        for (const double sum : {sums.loss, sums.right, sums.variance})
            all.push_back(static_cast<float>(sum));
        return all;
    }
    void put(const Tensor& to, const void* from) {
        backend(context.device()).copy_in(context, to.data, from, to.bytes());
    }

    Context context;
    std::optional<Session> session;
    std::unique_ptr<Feed> feed;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class RunOnCuda : public ::testing::Test {
  protected:
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    }
};

constexpr CodecKind kCodecs[] = {CodecKind::none,     CodecKind::standard,    CodecKind::smart,
                                 CodecKind::hadamard, CodecKind::exponential, CodecKind::qsgd,
                                 CodecKind::terngrad, CodecKind::sign,        CodecKind::natural,
                                 CodecKind::dorefa,   CodecKind::fixed};

TEST_F(RunOnCuda, OneStepIsThatOfTheCpu) {
    // Sums of some hundred float32 numbers in another order.
    constexpr double kLoss = 1e-5;
    // Of the norm. Rounding may decide the sign of a ReLU's input, of which a batch has some 10^5.
    constexpr double kGradient = 5e-3;
    for (const char* model : {"simple", "resnet_8"})
        for (const CodecKind codec : kCodecs) {
            SCOPED_TRACE(std::string(model) + " " + name_of(codec));
            SessionSettings on_cpu = settings_for(model, codec, false),
                            on_gpu = settings_for(model, codec, true);
            on_cpu.keep_quantized = on_gpu.keep_quantized = true;
            Training cpu(on_cpu), gpu(on_gpu);
            for (Training* run : {&cpu, &gpu}) {
                run->start(0);
                run->train(1, 1);
            }
            EXPECT_NEAR(gpu.session->loss(), cpu.session->loss(), kLoss * cpu.session->loss());
            Tensor wanted = cpu.session->parameters().gradients();
            const Tensor got = gpu.session->parameters().gradients();
            const std::vector<float> gradient = fetch(cpu.context, wanted);
            EXPECT_LE(norm(difference(fetch(gpu.context, got), gradient)), kGradient * norm(gradient));
            EXPECT_GT(norm(gradient), 0.0);

            // The same gradient and step give the same codes.
            const std::int64_t step = 0;
            gpu.put(got, gradient.data());
            gpu.put(gpu.session->state().step, &step);
            gpu.session->optimizer().quantize(gpu.context, gpu.session->parameters(), gpu.session->state());
            const auto applied = [](Training& run) {
                return fetch(run.context,
                             run.session->optimizer().applied_gradient(run.session->parameters()));
            };
            EXPECT_TRUE(same_bits(applied(gpu), applied(cpu)));
        }
}

// In bf16 the convolutions are own kernels, and layers leave passes to each other. The last batch norm of a
// block begins with a scale of zero, behind which all gradients would be zero.
TEST_F(RunOnCuda, OneStepInBfloat16IsThatOfTheCpu) {
    // Both round activations to bf16; where float32 sums of another order fall on the other side, elements
    // differ by 2^-8 of themselves, and the sign of a ReLU's input may.
    constexpr double kLoss = 2e-3, kGradient = 2e-2;
    SessionSettings on_cpu = settings_for("resnet_8", CodecKind::none, false),
                    on_gpu = settings_for("resnet_8", CodecKind::none, true);
    on_cpu.precision = on_gpu.precision = DType::bf16;
    Training cpu(on_cpu), gpu(on_gpu);
    for (Training* run : {&cpu, &gpu}) {
        for (const auto& parameter : run->session->parameters().parameters())
            if (parameter.name.ends_with("bn2.weight")) {
                const std::vector<float> ones(static_cast<std::size_t>(parameter.value.count()), 1.0f);
                run->put(parameter.value, ones.data());
            }
        run->start(0);
        run->train(1, 1);
    }
    EXPECT_NEAR(gpu.session->loss(), cpu.session->loss(), kLoss * cpu.session->loss());
    for (const auto& parameter : cpu.session->parameters().parameters()) {
        const auto of_gpu = std::ranges::find(gpu.session->parameters().parameters(), parameter.name,
                                              &ParameterStore::Parameter::name);
        const std::vector<float> gradient = fetch(cpu.context, parameter.grad);
        EXPECT_GT(norm(gradient), 0.0) << parameter.name;
        EXPECT_LE(norm(difference(fetch(gpu.context, of_gpu->grad), gradient)), kGradient * norm(gradient))
            << parameter.name;
    }
}

// Where a step leaves no quantized gradient, the codec runs again for whoever wants to see it.
TEST_F(RunOnCuda, LookingAtTheGradientChangesNothing) {
    for (const CodecKind codec : kCodecs) {
        SCOPED_TRACE(name_of(codec));
        SessionSettings settings = settings_for("simple", codec, true);
        Training looked(settings);
        settings.keep_quantized = true;
        Training kept(settings);
        for (Training* run : {&looked, &kept}) {
            run->start(0);
            run->train(3, 2);
        }
        EXPECT_TRUE(same_bits(looked.session->applied_gradient(), kept.session->applied_gradient()));
        EXPECT_TRUE(same_bits(looked.session->gradient(), kept.session->gradient()));
        for (Training* run : {&looked, &kept}) run->train(4, 4);
        EXPECT_TRUE(same_bits(looked.state(), kept.state()));
    }
}

TEST_F(RunOnCuda, BatchesAreThoseOfTheCpu) {
    for (const DType precision : {DType::f32, DType::bf16}) {
        SessionSettings on_cpu = settings_for("simple", CodecKind::none, false),
                        on_gpu = settings_for("simple", CodecKind::none, true);
        on_cpu.precision = on_gpu.precision = precision;
        Training cpu(on_cpu), gpu(on_gpu);
        const auto bytes = [](Training& run) {
            const Network& network = run.session->training_network(run.session->last_batch_size());
            Tensor images = network.images();
            std::vector<std::int32_t> labels = fetch<std::int32_t>(run.context, network.labels());
            std::vector<std::byte> all(images.bytes());
            backend(run.context.device()).copy_out(run.context, all.data(), images.data, images.bytes());
            for (const std::int32_t label : labels) all.push_back(static_cast<std::byte>(label));
            return all;
        };
        for (const auto& [epoch, batch] : {std::pair{0, 0}, {1, 0}, {1, 7}}) {
            cpu.start(epoch, batch);
            gpu.start(epoch, batch);
            for (std::int64_t b = batch; b < kBatches; ++b) {
                EXPECT_EQ(cpu.feed->train(1), 1);
                EXPECT_EQ(gpu.feed->train(1), 1);
                EXPECT_EQ(gpu.session->last_batch_size(), b + 1 == kBatches ? kTrain % kBatch : kBatch);
                EXPECT_TRUE(bytes(cpu) == bytes(gpu)) << epoch << " " << b;
            }
        }
    }
}

// Steps in launches of at most `most`; anew from the host, in the middle of an epoch, where `parted`.
std::vector<float> state_after(const std::string& model, int epochs, std::int64_t most, bool eager,
                               bool parted, bool error_feedback) {
    SessionSettings settings = settings_for(model, CodecKind::standard, true);
    settings.codec.error_feedback = error_feedback;
    Training run(settings, eager);
    for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
        run.start(epoch);
        run.train(parted ? 5 : kBatches, most);
        if (!parted) continue;
        run.start(epoch, 5, run.feed->look().sums);
        run.train(kBatches - 5, most);
    }
    return run.state();
}

TEST_F(RunOnCuda, EveryWayToLaunchGivesTheSameBits) {
    for (const auto& [model, epochs, feedback] :
         {std::tuple{"simple", 2, false}, {"simple", 1, true}, {"resnet_8", 1, false}}) {
        SCOPED_TRACE(model);
        const std::vector<float> state = state_after(model, epochs, kBatches, false, false, feedback);
        EXPECT_TRUE(same_bits(state, state_after(model, epochs, 1, false, false, feedback))) << "one by one";
        EXPECT_TRUE(same_bits(state, state_after(model, epochs, kBatches, true, false, feedback))) << "eager";
        EXPECT_TRUE(same_bits(state, state_after(model, epochs, 3, false, true, feedback))) << "in two parts";
    }
}

TEST_F(RunOnCuda, ALaunchTakesUpToTenSteps) {
    Training run(settings_for("simple", CodecKind::none, true));
    run.start(0);
    EXPECT_EQ(run.feed->train(kBatches), 10);
    EXPECT_EQ(run.feed->train(kBatches), 2);
    EXPECT_EQ(run.session->last_batch_size(), kBatch);
    EXPECT_EQ(run.feed->train(kBatches), 1);
    EXPECT_EQ(run.session->last_batch_size(), kTrain % kBatch);
}

TEST_F(RunOnCuda, ALongRunStaysNearTheCpu) {
    // 26 steps at small learning rates; the codec's choices agree but where a rounding lies at the border.
    constexpr double kLoss = 1e-3, kVariance = 0.02;
    Training cpu(settings_for("simple", CodecKind::standard, false)),
        gpu(settings_for("simple", CodecKind::standard, true));
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
        for (Training* run : {&cpu, &gpu}) {
            run->start(epoch);
            run->train(kBatches, kBatches);
        }
        const EpochSums want = cpu.feed->look().sums, got = gpu.feed->look().sums;
        EXPECT_NEAR(got.loss, want.loss, kLoss * want.loss);
        EXPECT_NEAR(got.variance, want.variance, kVariance * want.variance);
        EXPECT_GT(want.variance, 0.0);
    }
}

TEST_F(RunOnCuda, EvaluationIsThatOfTheCpu) {
    constexpr double kLoss = 1e-5;
    Training cpu(settings_for("resnet_8", CodecKind::none, false)),
        gpu(settings_for("resnet_8", CodecKind::none, true));
    for (int turn = 0; turn < 2; ++turn) {
        std::vector<std::int64_t> sizes[2];
        for (Training* run : {&cpu, &gpu}) {
            run->feed->start_evaluation();
            while (const std::int64_t size = run->feed->evaluate_next()) sizes[run == &gpu].push_back(size);
        }
        EXPECT_EQ(sizes[0], (std::vector<std::int64_t>{4, 4, 3}));
        EXPECT_EQ(sizes[1], sizes[0]);
        const Sums want = cpu.session->evaluation_sums(), got = gpu.session->evaluation_sums();
        EXPECT_NEAR(got.loss, want.loss, kLoss * want.loss);
        EXPECT_EQ(got.right, want.right);
    }
}

TEST_F(RunOnCuda, TheFirstFaultIsKept) {
    for (const CodecKind codec : kCodecs)
        for (const bool on_gpu : {false, true}) {
            SCOPED_TRACE(name_of(codec));
            Training run(settings_for("resnet_8", codec, on_gpu));
            run.start(1);
            run.train(3, 2);
            EXPECT_FALSE(run.feed->look().fault);
            // An infinite bias makes the loss and all gradients NaN.
            const float infinity = std::numeric_limits<float>::infinity();
            Tensor bias = run.session->parameters().parameters().back().value;
            bias.shape = {1};
            run.put(bias, &infinity);
            run.train(on_gpu ? 10 : 1, 10);
            const auto fault = run.feed->look().fault;
            ASSERT_TRUE(fault);
            EXPECT_EQ(fault->step, kBatches + 3);
            EXPECT_EQ(fault->parameter, "conv1.weight");
            EXPECT_TRUE(std::isnan(fault->loss));
        }
}

TEST_F(RunOnCuda, AResidentSessionTakesNoBatches) {
    Training run(settings_for("simple", CodecKind::none, true));
    EXPECT_THROW(run.session->train(Batch{}, 0, 0.1f), Error);
    EXPECT_THROW(run.session->evaluate(Batch{}), Error);
    run.start(0, kBatches);
    EXPECT_THROW(run.feed->train(1), Error);
    EXPECT_THROW(run.start(0, kBatches + 1), Error);
}

}  // namespace
}  // namespace qstep

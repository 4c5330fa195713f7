// Linear layers and bias sums on the GPU against the CPU backend.
#include <memory>

#include "kernels/cuda/channel_bias.h"
#include "kernels/linear.h"
#include "tests/cuda/library_bench.h"

namespace qstep {
namespace {

using test::Both;
using test::BothWeight;
using test::Owned;

struct Case {
    LinearShape shape;
    DType dtype;
    bool tf32;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << (c.tf32 ? "tf32" : name_of(c.dtype)) << " " << c.shape.batch << " rows, " << c.shape.in_features
        << " to " << c.shape.out_features;
}

double tolerance(const Case& c) {
    return c.dtype == DType::bf16 ? test::kBf16Backends : c.tf32 ? test::kTf32Backends : test::kF32Backends;
}

// Values that bf16 holds, of which sums over `terms` have unit variance.
Owned make_weights(const Shape& shape, std::uint64_t seed, std::int64_t terms) {
    Owned w(DType::f32, shape);
    w.set(Owned(DType::bf16, shape, seed, 1 / std::sqrt(static_cast<double>(terms))).values());
    return w;
}

class LinearGpu : public test::GpuTest, public ::testing::WithParamInterface<Case> {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (IsSkipped()) return;
        cpu_ = std::make_unique<Context>(Device{}, 2);
        gpu_ = std::make_unique<Context>(test::kGpu, 2,
                                         Numerics{.deterministic = false, .tf32 = GetParam().tf32});
        for (Context* context : {cpu_.get(), gpu_.get()}) {
            context->workspace().reserve(linear_workspace(*context, shape(), GetParam().dtype));
            context->workspace().freeze();
        }
        const auto [n, i, o] = shape();
        const DType dtype = GetParam().dtype;
        x_ = std::make_unique<Both>(*gpu_, Owned(dtype, {n, i}, 1));
        y_ = std::make_unique<Both>(*gpu_, Owned(dtype, {n, o}, 3));
        w_ = std::make_unique<BothWeight>(*gpu_, make_weights({o, i}, 2, i), Owned(DType::f32, {o, i}, 6),
                                          WeightUse::linear, dtype);
        bias_ = std::make_unique<BothWeight>(*gpu_, make_weights({o}, 4, 1), Owned(DType::f32, {o}, 7),
                                             WeightUse::linear, dtype);
        dx_ = std::make_unique<Both>(*gpu_, Owned(dtype, {n, i}, 5));
    }
    const LinearShape& shape() const { return GetParam().shape; }

    std::unique_ptr<Context> cpu_, gpu_;
    std::unique_ptr<Both> x_, y_, dx_;
    std::unique_ptr<BothWeight> w_, bias_;
};

TEST_P(LinearGpu, Forward) {
    for (const bool has_bias : {false, true}) {
        linear_forward(*cpu_, shape(), y_->cpu, x_->cpu, w_->on_cpu(),
                       has_bias ? bias_->on_cpu().tensor() : Tensor{});
        linear_forward(*gpu_, shape(), y_->on_gpu, x_->on_gpu, w_->on_gpu(),
                       has_bias ? bias_->on_gpu() : Tensor{});
        EXPECT_LT(y_->difference(), tolerance(GetParam())) << "bias " << has_bias;
    }
}

TEST_P(LinearGpu, BackwardData) {
    for (const GradMode mode : {GradMode::skip, GradMode::accumulate, GradMode::overwrite}) {
        linear_backward_data(*cpu_, shape(), dx_->cpu, mode, y_->cpu, w_->on_cpu());
        linear_backward_data(*gpu_, shape(), dx_->on_gpu, mode, y_->on_gpu, w_->on_gpu());
        EXPECT_LT(dx_->difference(), tolerance(GetParam())) << "mode " << static_cast<int>(mode);
    }
}

TEST_P(LinearGpu, BackwardWeights) {
    for (const GradMode mode : {GradMode::skip, GradMode::accumulate, GradMode::overwrite})
        for (const bool has_bias : {false, true}) {
            linear_backward_weights(*cpu_, shape(), w_->gradient_on_cpu(),
                                    has_bias ? bias_->gradient_on_cpu().tensor() : Tensor{}, mode, y_->cpu,
                                    x_->cpu);
            linear_backward_weights(*gpu_, shape(), w_->gradient_on_gpu(),
                                    has_bias ? bias_->gradient_on_gpu() : Tensor{}, mode, y_->on_gpu,
                                    x_->on_gpu);
            // Products of bf16 are exact in the f32 sums.
            EXPECT_LT(w_->difference(), GetParam().tf32 ? test::kTf32Backends : test::kF32Backends);
            EXPECT_LT(bias_->difference(), test::kF32Backends);
        }
}

TEST_P(LinearGpu, RunsAgreeToTheBit) {
    const auto both = [&] {
        linear_forward(*gpu_, shape(), y_->on_gpu, x_->on_gpu, w_->on_gpu(), bias_->on_gpu());
        linear_backward_data(*gpu_, shape(), dx_->on_gpu, GradMode::overwrite, y_->on_gpu, w_->on_gpu());
        linear_backward_weights(*gpu_, shape(), w_->gradient_on_gpu(), bias_->gradient_on_gpu(),
                                GradMode::overwrite, y_->on_gpu, x_->on_gpu);
    };
    both();
    const Owned y = y_->on_gpu.host(), dx = dx_->on_gpu.host(), dw = w_->collect().host(),
                dbias = bias_->collect().host();
    backend(test::kGpu).capture(*gpu_, [&](Context&) { both(); })->launch(1);
    EXPECT_TRUE(y.same_bits(y_->on_gpu.host()));
    EXPECT_TRUE(dx.same_bits(dx_->on_gpu.host()));
    EXPECT_TRUE(dw.same_bits(w_->collect().host()));
    EXPECT_TRUE(dbias.same_bits(bias_->collect().host()));
}

// A parameter lies where the one before it ends, on a multiple of its element's size and no more.
TEST_P(LinearGpu, ParametersAtOddAddresses) {
    const auto [n, i, o] = shape();
    Owned padded(DType::f32, {1 + o * i}), operands(GetParam().dtype, {1 + o * i});
    test::Doubles values = w_->on_cpu().values();
    values.insert(values.begin(), 0.0);
    padded.set(values);
    operands.set(values);
    const test::OnGpu weights(*gpu_, operands), gradient(*gpu_, padded);
    const auto behind_first = [&](const test::OnGpu& from) {
        const DType dtype = from.tensor().dtype;
        return Tensor{static_cast<std::byte*>(from.tensor().data) + size_of(dtype), dtype, {o, i}};
    };
    linear_backward_weights(*cpu_, shape(), w_->gradient_on_cpu(), {}, GradMode::overwrite, y_->cpu, x_->cpu);
    linear_backward_weights(*gpu_, shape(), behind_first(gradient), {}, GradMode::overwrite, y_->on_gpu,
                            x_->on_gpu);
    test::Doubles computed = gradient.values();
    EXPECT_EQ(computed.front(), 0.0);
    computed.erase(computed.begin());
    EXPECT_LT(test::distance(computed, w_->gradient_on_cpu().values()),
              GetParam().tf32 ? test::kTf32Backends : test::kF32Backends);

    linear_forward(*cpu_, shape(), y_->cpu, x_->cpu, w_->on_cpu(), {});
    linear_forward(*gpu_, shape(), y_->on_gpu, x_->on_gpu, behind_first(weights), {});
    EXPECT_LT(y_->difference(), tolerance(GetParam()));
}

std::vector<Case> all_cases() {
    const LinearShape shapes[] = {{8, 64, 10},                                  // ResNet-20
                                  {2, 1024, 4096}, {2, 4096, 10},               // AlexNet
                                  {8, 400, 120},   {5, 120, 84},  {3, 84, 10},  // Simple
                                  {1, 1, 1},       {7, 5, 3},     {1, 600, 17},
                                  {2, 1, 70},      {130, 3, 1},   {129, 33, 65}};
    std::vector<Case> cases;
    for (const LinearShape& shape : shapes)
        for (const auto& [dtype, tf32] :
             {std::pair{DType::f32, false}, {DType::f32, true}, {DType::bf16, false}})
            cases.push_back({shape, dtype, tf32});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearGpu, ::testing::ValuesIn(all_cases()));

class ChannelBiasGpu : public test::GpuTest {};

TEST_F(ChannelBiasGpu, AddsAndSums) {
    const Shape shapes[] = {{1, 1, 1, 1},   {3, 5, 7, 6},    {2, 16, 16, 64},
                            {65, 1, 1, 33}, {1, 300, 70, 5}, {2, 1, 1, 1000}};
    for (const Shape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) {
            const std::int64_t channels = shape[3], rows = shape.count() / channels;
            Context gpu(test::kGpu, 1);
            gpu.workspace().reserve(cuda::channel_sums_bytes(rows, channels));
            gpu.workspace().freeze();
            Both y(gpu, Owned(dtype, shape, 1)), sums(gpu, Owned(DType::f32, {channels}, 2));
            const test::Doubles values = y.cpu.values(), bias = sums.cpu.values();

            test::Doubles expected(static_cast<std::size_t>(channels), 0.0);
            for (std::size_t k = 0; k < values.size(); ++k) expected[k % expected.size()] += values[k];
            for (const GradMode mode : {GradMode::skip, GradMode::overwrite, GradMode::accumulate}) {
                cuda::channel_sums(gpu, sums.on_gpu, mode, y.on_gpu,
                                   gpu.workspace().lend(cuda::channel_sums_bytes(rows, channels)));
                test::Doubles want = mode == GradMode::skip ? bias : expected;
                if (mode == GradMode::accumulate)
                    for (double& value : want) value *= 2;
                // Partials of at most some hundred terms, then doubles.
                EXPECT_LT(test::distance(sums.on_gpu.values(), want), test::kF32Backends)
                    << shape.to_string();
            }

            const test::OnGpu addend(gpu, sums.cpu);
            cuda::add_channel_bias(gpu, y.on_gpu, addend);
            test::Doubles want(values.size());
            for (std::size_t k = 0; k < want.size(); ++k)
                want[k] =
                    test::rounded(dtype, static_cast<double>(static_cast<float>(values[k]) +
                                                             static_cast<float>(bias[k % bias.size()])));
            test::expect_same(y.on_gpu.values(), want);
        }
}

}  // namespace
}  // namespace qstep

// Convolutions on the GPU against the CPU backend: every shape of the three models and odd ones, in fp32,
// tf32 and bf16.
#include <memory>

#include "kernels/conv_bn.h"
#include "kernels/cuda/conv2d.h"
#include "tests/cuda/library_bench.h"

namespace qstep {
namespace {

using test::Both;
using test::BothWeight;
using test::OnGpu;
using test::Owned;

struct Case {
    Conv2dShape shape;
    DType dtype;
    bool tf32;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << (c.tf32 ? "tf32" : name_of(c.dtype)) << " x " << c.shape.x().to_string() << " w "
        << c.shape.w().to_string() << " stride " << c.shape.stride << " pad " << c.shape.pad;
}

double tolerance(const Case& c) {
    return c.dtype == DType::bf16 ? test::kBf16Backends : c.tf32 ? test::kTf32Backends : test::kF32Backends;
}

// Weights of unit variance per output, exactly representable in bf16.
Owned make_weights(const Conv2dShape& shape) {
    const double fan_in = static_cast<double>(shape.in_channels * shape.kernel_h * shape.kernel_w);
    Owned w(DType::f32, shape.w());
    w.set(Owned(DType::bf16, shape.w(), 2, 1 / std::sqrt(fan_in)).values());
    return w;
}

struct Contexts {
    Contexts(const Case& c, bool deterministic = false)
        : cpu(Device{}, 2), gpu(test::kGpu, 2, Numerics{.deterministic = deterministic, .tf32 = c.tf32}) {
        for (Context* context : {&cpu, &gpu}) {
            context->workspace().reserve(conv2d_workspace(*context, c.shape, c.dtype));
            context->workspace().reserve(batch_norm_workspace(
                *context, c.shape.y().count() / c.shape.out_channels, c.shape.out_channels));
            context->workspace().freeze();
        }
    }
    Context cpu, gpu;
};

struct Operands {
    Operands(Context& gpu, const Case& c)
        : x(gpu, Owned(c.dtype, c.shape.x(), 1)),
          w(gpu, make_weights(c.shape), Owned(DType::f32, c.shape.w(), 6), WeightUse::convolution, c.dtype),
          y(gpu, Owned(c.dtype, c.shape.y(), 3)),
          bias(gpu, Owned(DType::f32, {c.shape.out_channels}, 4)),
          dx(gpu, Owned(c.dtype, c.shape.x(), 5)),
          dbias(gpu, Owned(DType::f32, {c.shape.out_channels}, 7)) {}
    Both x;
    BothWeight w;
    Both y, bias, dx, dbias;
};

class Conv2dGpu : public test::GpuTest, public ::testing::WithParamInterface<Case> {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (IsSkipped()) return;
        contexts_ = std::make_unique<Contexts>(GetParam());
        operands_ = std::make_unique<Operands>(contexts_->gpu, GetParam());
    }
    const Conv2dShape& shape() const { return GetParam().shape; }
    Context& cpu() { return contexts_->cpu; }
    Context& gpu() { return contexts_->gpu; }
    std::unique_ptr<Contexts> contexts_;
    std::unique_ptr<Operands> operands_;
};

TEST_P(Conv2dGpu, Forward) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    for (const bool has_bias : {false, true}) {
        conv2d_forward(cpu(), shape(), y.cpu, x.cpu, w.on_cpu(), has_bias ? bias.cpu.tensor() : Tensor{});
        conv2d_forward(gpu(), shape(), y.on_gpu, x.on_gpu, w.on_gpu(),
                       has_bias ? bias.on_gpu.tensor() : Tensor{});
        EXPECT_LT(y.difference(), tolerance(GetParam())) << "bias " << has_bias;
    }
}

TEST_P(Conv2dGpu, BackwardData) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    for (const GradMode mode : {GradMode::skip, GradMode::accumulate, GradMode::overwrite}) {
        conv2d_backward_data(cpu(), shape(), dx.cpu, mode, y.cpu, w.on_cpu());
        conv2d_backward_data(gpu(), shape(), dx.on_gpu, mode, y.on_gpu, w.on_gpu());
        EXPECT_LT(dx.difference(), tolerance(GetParam())) << "mode " << static_cast<int>(mode);
    }
}

TEST_P(Conv2dGpu, BackwardWeights) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    for (const GradMode mode : {GradMode::skip, GradMode::accumulate, GradMode::overwrite})
        for (const bool has_bias : {false, true}) {
            conv2d_backward_weights(cpu(), shape(), w.gradient_on_cpu(),
                                    has_bias ? dbias.cpu.tensor() : Tensor{}, mode, y.cpu, x.cpu);
            conv2d_backward_weights(gpu(), shape(), w.gradient_on_gpu(),
                                    has_bias ? dbias.on_gpu.tensor() : Tensor{}, mode, y.on_gpu, x.on_gpu);
            EXPECT_LT(w.difference(), tolerance(GetParam())) << "mode " << static_cast<int>(mode);
            EXPECT_LT(dbias.difference(), test::kF32Backends) << "mode " << static_cast<int>(mode);
        }
}

// conv_bn.h keeps dy behind what a convolution borrows.
TEST_P(Conv2dGpu, LeavesTheWorkspaceBehindItAlone) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    const std::size_t front = cuda::conv2d_call_bytes(gpu(), shape(), GetParam().dtype, true);
    const std::size_t behind = gpu().workspace().capacity() - front;
    auto* const at = static_cast<std::byte*>(gpu().workspace().lend(front + behind)) + front;
    std::vector<std::byte> pattern(behind, std::byte{0x5a}), after(behind);
    backend(test::kGpu).copy_in(gpu(), at, pattern.data(), behind);
    conv2d_forward(gpu(), shape(), y.on_gpu, x.on_gpu, w.on_gpu(), bias.on_gpu);
    for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate}) {
        conv2d_backward_data(gpu(), shape(), dx.on_gpu, mode, y.on_gpu, w.on_gpu());
        conv2d_backward_weights(gpu(), shape(), w.gradient_on_gpu(), dbias.on_gpu, mode, y.on_gpu, x.on_gpu);
    }
    backend(test::kGpu).copy_out(gpu(), after.data(), at, behind);
    EXPECT_EQ(after, pattern);
}

TEST_P(Conv2dGpu, CapturedIsEager) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    const auto step = [&](Context& context) {
        conv2d_forward(context, shape(), y.on_gpu, x.on_gpu, w.on_gpu(), bias.on_gpu);
        conv2d_backward_data(context, shape(), dx.on_gpu, GradMode::overwrite, y.on_gpu, w.on_gpu());
        conv2d_backward_weights(context, shape(), w.gradient_on_gpu(), dbias.on_gpu, GradMode::overwrite,
                                y.on_gpu, x.on_gpu);
    };
    step(gpu());
    const Owned y_eager = y.on_gpu.host(), dx_eager = dx.on_gpu.host(), dw_eager = w.collect().host();
    backend(test::kGpu).capture(gpu(), step)->launch(1);
    // An algorithm may add in an order of its own making; it is the same one.
    EXPECT_LT(test::distance(y.on_gpu.values(), y_eager.values()), tolerance(GetParam()));
    EXPECT_LT(test::distance(dx.on_gpu.values(), dx_eager.values()), tolerance(GetParam()));
    EXPECT_LT(test::distance(w.collect().values(), dw_eager.values()), tolerance(GetParam()));
}

TEST_P(Conv2dGpu, DeterministicRunsAgreeToTheBit) {
    std::vector<Owned> results;
    for (int run = 0; run < 2; ++run) {
        Contexts contexts(GetParam(), true);
        Operands operands(contexts.gpu, GetParam());
        auto& [x, w, y, bias, dx, dbias] = operands;
        conv2d_forward(contexts.gpu, shape(), y.on_gpu, x.on_gpu, w.on_gpu(), bias.on_gpu);
        conv2d_backward_data(contexts.gpu, shape(), dx.on_gpu, GradMode::accumulate, y.on_gpu, w.on_gpu());
        conv2d_backward_weights(contexts.gpu, shape(), w.gradient_on_gpu(), dbias.on_gpu,
                                GradMode::accumulate, y.on_gpu, x.on_gpu);
        for (const OnGpu* result :
             std::initializer_list<const OnGpu*>{&y.on_gpu, &dx.on_gpu, &w.collect(), &dbias.on_gpu})
            results.push_back(result->host());
    }
    for (std::size_t i = 0; i < results.size() / 2; ++i)
        EXPECT_TRUE(results[i].same_bits(results[i + results.size() / 2])) << "result " << i;
}

std::vector<Case> all_cases() {
    // batch, height, width, in, out, kernel_h, kernel_w, stride, pad
    const Conv2dShape shapes[] = {
        {8, 32, 32, 3, 16, 3, 3, 1, 1},  // ResNet-20
        {2, 32, 32, 16, 16, 3, 3, 1, 1},
        {3, 32, 32, 16, 32, 3, 3, 2, 1},
        {5, 32, 32, 16, 32, 1, 1, 2, 0},
        {2, 16, 16, 32, 32, 3, 3, 1, 1},
        {4, 16, 16, 32, 64, 3, 3, 2, 1},
        {2, 16, 16, 32, 64, 1, 1, 2, 0},
        {7, 8, 8, 64, 64, 3, 3, 1, 1},
        {2, 32, 32, 3, 64, 3, 3, 2, 1},  // AlexNet
        {2, 8, 8, 64, 192, 3, 3, 1, 1},
        {2, 4, 4, 192, 384, 3, 3, 1, 1},
        {3, 4, 4, 384, 256, 3, 3, 1, 1},
        {2, 4, 4, 256, 256, 3, 3, 1, 1},
        {8, 32, 32, 3, 6, 5, 5, 1, 0},  // Simple
        {5, 14, 14, 6, 16, 5, 5, 1, 0},
        {1, 1, 1, 1, 1, 1, 1, 1, 0},  // one of everything, odd extents and
                                      // channels, other kernels
        {1, 7, 5, 3, 5, 3, 3, 1, 1},
        {3, 13, 11, 5, 7, 3, 3, 2, 1},
        {1, 17, 19, 16, 48, 3, 3, 2, 1},
        {2, 9, 18, 33, 17, 1, 3, 1, 0},
        {2, 10, 9, 8, 24, 3, 2, 1, 1},
    };
    std::vector<Case> cases;
    for (const Conv2dShape& shape : shapes)
        for (const auto& [dtype, tf32] :
             {std::pair{DType::f32, false}, {DType::f32, true}, {DType::bf16, false}})
            cases.push_back({shape, dtype, tf32});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Conv2dGpu, ::testing::ValuesIn(all_cases()));

// Convolution and batch norm in one call.
class ConvBnGpu : public Conv2dGpu {
  protected:
    void SetUp() override {
        Conv2dGpu::SetUp();
        if (IsSkipped()) return;
        for (int i = 0; i < 8; ++i)
            channels_.push_back(std::make_unique<Both>(
                gpu(),
                Owned(DType::f32, {shape().out_channels}, static_cast<std::uint64_t>(10 + i), 0.25, 1)));
    }
    BatchNormStats stats(bool on_gpu) { return {channel(0, on_gpu), channel(1, on_gpu)}; }
    BatchNormParameters parameters(bool on_gpu) {
        return {channel(2, on_gpu), channel(3, on_gpu), channel(4, on_gpu), channel(5, on_gpu)};
    }
    Tensor channel(std::size_t index, bool on_gpu) {
        return on_gpu ? channels_[index]->on_gpu.tensor() : channels_[index]->cpu.tensor();
    }

    std::vector<std::unique_ptr<Both>> channels_;
};

TEST_P(ConvBnGpu, ForwardAndBackward) {
    auto& [x, w, y, bias, dx, dbias] = *operands_;
    conv2d_forward_statistics(cpu(), shape(), y.cpu, x.cpu, w.on_cpu(), stats(false), parameters(false));
    conv2d_forward_statistics(gpu(), shape(), y.on_gpu, x.on_gpu, w.on_gpu(), stats(true), parameters(true));
    EXPECT_LT(y.difference(), tolerance(GetParam()));
    for (const std::size_t statistic : {0, 1, 4, 5})
        EXPECT_LT(channels_[statistic]->difference(), tolerance(GetParam())) << "statistic " << statistic;

    Both dz(gpu(), Owned(GetParam().dtype, shape().y(), 8));
    for (const GradMode mode : {GradMode::skip, GradMode::overwrite, GradMode::accumulate}) {
        conv2d_backward_through_batch_norm(cpu(), shape(), dx.cpu, mode, w.gradient_on_cpu(), dz.cpu, y.cpu,
                                           x.cpu, w.on_cpu(), channel(6, false), channel(7, false),
                                           stats(false), channel(2, false), nullptr);
        conv2d_backward_through_batch_norm(gpu(), shape(), dx.on_gpu, mode, w.gradient_on_gpu(), dz.on_gpu,
                                           y.on_gpu, x.on_gpu, w.on_gpu(), channel(6, true), channel(7, true),
                                           stats(true), channel(2, true), nullptr);
        EXPECT_LT(dx.difference(), tolerance(GetParam()) * 2) << "mode " << static_cast<int>(mode);
        EXPECT_LT(w.difference(), tolerance(GetParam()) * 2) << "mode " << static_cast<int>(mode);
    }
}

std::vector<Case> conv_bn_cases() {
    const Conv2dShape shapes[] = {{4, 32, 32, 3, 16, 3, 3, 1, 1},  {2, 32, 32, 16, 32, 3, 3, 2, 1},
                                  {2, 16, 16, 32, 64, 1, 1, 2, 0}, {3, 8, 8, 64, 64, 3, 3, 1, 1},
                                  {2, 8, 8, 64, 64, 3, 3, 1, 1},  // the emulation takes own kernels here
                                  {2, 32, 32, 16, 16, 3, 3, 1, 1}, {3, 13, 11, 5, 7, 3, 3, 2, 1}};
    std::vector<Case> cases;
    for (const Conv2dShape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype, false});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, ConvBnGpu, ::testing::ValuesIn(conv_bn_cases()));

}  // namespace
}  // namespace qstep

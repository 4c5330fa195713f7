// The own convolutions against the CPU backend, piece by piece: y, then the statistics of that y; dy, then
// the data gradient of that dy.
#include "kernels/cuda/narrow_conv.h"

#include <array>

#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/narrow_choice.h"
#include "kernels/on_device.h"
#include "tests/cuda/library_bench.h"

namespace qstep {
namespace {

using test::Both;
using test::BothWeight;
using test::Owned;

// Sums of up to 576 products in two orders, which may be rounded to neighbours in bf16: an element is off by
// its last place, at most 2^-7 of up to six root mean squares.
constexpr double kOnceRounded = 6 * 0x1p-7;
// Both sides sum float32 partials of bounded length in double; a mean is off by some roundings of a
// deviation.
constexpr double kStatistics = 4e-6;
constexpr double kMean = 4 * 0x1p-24;

// Sums of rows * numbers of some units, whose size is the root of the rows: relative to that.
constexpr double kSums = 4e-6;

class NarrowConv : public test::GpuTest, public ::testing::WithParamInterface<Conv2dShape> {
  protected:
    void SetUp() override {
        GpuTest::SetUp();
        if (IsSkipped()) return;
        for (Context* context : {&cpu_, gpu_.get()}) {
            context->workspace().reserve(conv2d_workspace(*context, shape(), DType::bf16));
            context->workspace().reserve(
                batch_norm_workspace(*context, shape().y().count() / channels(), channels()));
            context->workspace().freeze();
        }
        const double fan_in = static_cast<double>(shape().w().count() / shape().out_channels);
        Owned weights(DType::f32, shape().w());
        weights.set(Owned(DType::bf16, shape().w(), 2, 1 / std::sqrt(fan_in)).values());
        w_ = std::make_unique<BothWeight>(*gpu_, std::move(weights), Owned(DType::f32, shape().w(), 6),
                                          WeightUse::convolution, DType::bf16);
        for (std::uint64_t i = 0; i < 8; ++i)
            of_channels_.push_back(
                std::make_unique<Both>(*gpu_, Owned(DType::f32, {channels()}, 10 + i, 0.25, 1)));
        scratch_ = std::make_unique<test::OnGpu>(
            *gpu_, Owned(DType::f32, {static_cast<std::int64_t>(cuda::narrow_conv_bytes(shape()) / 4)}));
    }
    const Conv2dShape& shape() const { return GetParam(); }
    // Of y.
    std::int64_t channels() const { return shape().out_channels; }
    Tensor channel(std::size_t index, bool on_gpu) const {
        return on_gpu ? of_channels_[index]->on_gpu.tensor() : of_channels_[index]->cpu.tensor();
    }
    BatchNormStats stats(bool on_gpu) const { return {channel(0, on_gpu), channel(1, on_gpu)}; }
    BatchNormParameters parameters(bool on_gpu) const {
        return {channel(2, on_gpu), channel(3, on_gpu), channel(4, on_gpu), channel(5, on_gpu)};
    }
    Both random(const Shape& of, std::uint64_t seed) { return {*gpu_, Owned(DType::bf16, of, seed)}; }
    Shape in_parts() const {
        const std::int64_t parts = cuda::narrow_conv_parts(shape().w(), DType::bf16);
        return {parts * channels(), shape().kernel_h, shape().kernel_w, shape().in_channels};
    }

    Context cpu_{Device{}, 2};
    std::unique_ptr<Context> gpu_ = device_count(DeviceKind::cuda) > 0
                                        ? std::make_unique<Context>(test::kGpu, 2)
                                        : nullptr;
    std::unique_ptr<BothWeight> w_;
    std::vector<std::unique_ptr<Both>> of_channels_;
    std::unique_ptr<test::OnGpu> scratch_;
};

class NarrowTiming : public test::GpuTest {};

TEST_P(NarrowConv, Forward) {
    const Both x = random(shape().x(), 1), y = random(shape().y(), 3);
    cuda::narrow_conv_forward(*gpu_, shape(), y.on_gpu, x.on_gpu, nullptr, w_->on_gpu(), stats(true),
                              parameters(true), scratch_->tensor().data);
    conv2d_forward(cpu_, shape(), y.cpu, x.cpu, w_->on_cpu(), {});
    EXPECT_LT(y.difference(), kOnceRounded);

    const Owned stored = y.on_gpu.host();
    batch_norm_statistics(cpu_, stats(false), parameters(false), stored);
    for (const std::size_t statistic : {1, 4, 5})
        EXPECT_LT(of_channels_[statistic]->difference(), kStatistics) << "statistic " << statistic;
    // A mean may be as good as zero; what its error is to be compared with is the deviation.
    const auto means = of_channels_[0]->on_gpu.values(), expected = of_channels_[0]->cpu.values(),
               inv_std = of_channels_[1]->cpu.values();
    for (std::size_t c = 0; c < means.size(); ++c)
        EXPECT_LT(std::abs(means[c] - expected[c]) * inv_std[c], kMean) << "channel " << c;
}

// To the bit what two calls do.
TEST_P(NarrowConv, NormalisesOnTheWay) {
    const std::int64_t inputs = shape().in_channels;
    std::vector<std::unique_ptr<Both>> before;
    for (std::uint64_t i = 0; i < 6; ++i)
        before.push_back(std::make_unique<Both>(*gpu_, Owned(DType::f32, {inputs}, 30 + i, 0.25, 1)));
    const auto channel_before = [&](std::size_t i) { return before[i]->on_gpu.tensor(); };
    const Both raw = random(shape().x(), 1), residual = random(shape().x(), 2), x = random(shape().x(), 3),
               y = random(shape().y(), 4);
    for (const bool has_residual : {true, false})
        for (const bool relu : {true, false}) {
            const Normalisation from{
                raw.on_gpu,
                has_residual ? residual.on_gpu.tensor() : Tensor{},
                relu,
                {channel_before(0), channel_before(1)},
                {channel_before(2), channel_before(3), channel_before(4), channel_before(5)}};
            const auto run = [&](const Normalisation* on_the_way) {
                cuda::narrow_conv_forward(*gpu_, shape(), y.on_gpu, x.on_gpu, on_the_way, w_->on_gpu(),
                                          stats(true), parameters(true), scratch_->tensor().data);
                return std::array{x.on_gpu.host(), y.on_gpu.host(), of_channels_[0]->on_gpu.host(),
                                  of_channels_[1]->on_gpu.host()};
            };
            if (inputs == 3) {
                EXPECT_THROW(run(&from), Error);
                continue;
            }
            const auto at_once = run(&from);
            batch_norm_apply(*gpu_, x.on_gpu, from.y, from.residual, relu, from.stats, from.parameters);
            const auto separate = run(nullptr);
            for (std::size_t i = 0; i < separate.size(); ++i)
                EXPECT_TRUE(at_once[i].same_bits(separate[i]))
                    << "result " << i << ", residual " << has_residual << ", ReLU " << relu;
        }
}

TEST_P(NarrowConv, BackwardData) {
    const Both dz = random(shape().y(), 1), y = random(shape().y(), 3), x = random(shape().x(), 6);
    Both dx = random(shape().x(), 4), dy = random(shape().y(), 5);
    const Owned old = dx.on_gpu.host();
    const test::OnGpu plain_dy(*gpu_, Owned(DType::bf16, shape().y(), 6));
    cuda::backward_apply(*gpu_, plain_dy, false, dz.on_gpu, y.on_gpu, channel(6, true), channel(7, true),
                         stats(true), channel(2, true));
    const Owned expected_dy = plain_dy.host();
    const auto run = [&](bool add, const InputReduction* input) {
        cuda::narrow_conv_backward_data(*gpu_, shape(), dx.on_gpu, add, dy.on_gpu, dz.on_gpu, y.on_gpu,
                                        x.on_gpu, w_->on_gpu(), channel(6, true), channel(7, true),
                                        stats(true), channel(2, true), input, scratch_->tensor().data);
    };
    if (shape().in_channels == 3) {
        EXPECT_THROW(run(false, nullptr), Error);
        return;
    }
    for (const bool add : {true, false}) {
        run(add, nullptr);
        EXPECT_TRUE(dy.on_gpu.host().same_bits(expected_dy)) << "add " << add;
        std::memcpy(dx.cpu.tensor().data, old.tensor().data, old.tensor().bytes());
        conv2d_backward_data(cpu_, shape(), dx.cpu, add ? GradMode::accumulate : GradMode::overwrite,
                             expected_dy, w_->on_cpu());
        EXPECT_LT(dx.difference(), kOnceRounded) << "add " << add;
    }
}

// dz is to the bit what two calls make; sums are of another order.
TEST_P(NarrowConv, ReducesOnTheWay) {
    const Both dz = random(shape().y(), 1), y = random(shape().y(), 3), dy = random(shape().y(), 5),
               x = random(shape().x(), 6), before = random(shape().x(), 7);
    const Shape inputs{shape().in_channels};
    const Both mean(*gpu_, Owned(DType::f32, inputs, 8)),
        inv_std(*gpu_, Owned(DType::f32, inputs, 9, 0.25, 1)), dgamma(*gpu_, Owned(DType::f32, inputs)),
        dbeta(*gpu_, Owned(DType::f32, inputs));
    const Owned old(DType::bf16, shape().x(), 4);
    const double rows = static_cast<double>(shape().x().count() / shape().in_channels);
    for (const bool add : {true, false})
        for (const bool relu : {true, false}) {
            SCOPED_TRACE(::testing::Message() << "add " << add << ", ReLU " << relu);
            const BatchNormStats of_input{mean.on_gpu, inv_std.on_gpu};
            const InputReduction input{before.on_gpu, dgamma.on_gpu, dbeta.on_gpu, relu, of_input};
            const auto run = [&](const test::OnGpu& dx, const InputReduction* reduction) {
                cuda::narrow_conv_backward_data(*gpu_, shape(), dx, add, dy.on_gpu, dz.on_gpu, y.on_gpu,
                                                x.on_gpu, w_->on_gpu(), channel(6, true), channel(7, true),
                                                stats(true), channel(2, true), reduction,
                                                scratch_->tensor().data);
            };
            const test::OnGpu at_once(*gpu_, old), separate(*gpu_, old);
            if (shape().in_channels == 3) {
                EXPECT_THROW(run(at_once, &input), Error);
                continue;
            }
            run(at_once, &input);
            const auto dgamma_at_once = dgamma.on_gpu.values(), dbeta_at_once = dbeta.on_gpu.values();
            run(separate, nullptr);
            batch_norm_backward_reduce(*gpu_, separate, dgamma.on_gpu, dbeta.on_gpu, separate,
                                       relu ? x.on_gpu.tensor() : Tensor{}, before.on_gpu, of_input);
            EXPECT_TRUE(at_once.host().same_bits(separate.host()));
            for (std::size_t c = 0; c < dgamma_at_once.size(); ++c) {
                EXPECT_NEAR(dbeta_at_once[c], dbeta.on_gpu.values()[c], kSums * std::sqrt(rows)) << c;
                EXPECT_NEAR(dgamma_at_once[c], dgamma.on_gpu.values()[c], kSums * std::sqrt(rows)) << c;
            }
        }
}

// Sums of the parts against dw; bf16 enters as factors alone, so that float32 sums are what differs.
TEST_P(NarrowConv, BackwardWeights) {
    const Both dy = random(shape().y(), 1), x = random(shape().x(), 3);
    const Owned start(DType::f32, in_parts(), 4);
    const test::OnGpu of_gradient(*gpu_, start);
    Both dw(*gpu_, Owned(DType::f32, shape().w()));
    conv2d_backward_weights(cpu_, shape(), dw.cpu, {}, GradMode::overwrite, dy.cpu, x.cpu);
    const auto gradient = dw.cpu.values(), old = start.values();
    for (const bool add : {true, false}) {
        cuda::narrow_conv_backward_weights(*gpu_, shape(), of_gradient, add, dy.on_gpu, x.on_gpu);
        const auto values = of_gradient.values();
        test::Doubles sums(gradient.size()), expected(gradient.size());
        for (std::size_t at = 0; at < values.size(); ++at) {
            const auto inputs = static_cast<std::size_t>(shape().in_channels),
                       taps = static_cast<std::size_t>(shape().kernel_h * shape().kernel_w);
            const std::size_t of_part = at % gradient.size();
            const std::size_t output = of_part / (taps * inputs), tap = of_part / inputs % taps;
            const std::size_t place = (output * inputs + of_part % inputs) * taps + tap;
            sums[place] += values[at] - (add ? old[at] : 0.0);
            expected[place] = gradient[place];
        }
        EXPECT_LT(test::distance(sums, expected), test::kF32Backends) << "add " << add;
    }
}

TEST_P(NarrowConv, GradientAsParts) {
    const Shape of_part{channels(), shape().kernel_h, shape().kernel_w, shape().in_channels};
    const test::OnGpu gradient(*gpu_, Owned(DType::bf16, of_part, 1));
    const Owned start(DType::f32, in_parts(), 4);
    const test::OnGpu in_parts(*gpu_, start);
    const auto whole = gradient.values(), old = start.values();
    for (const bool add : {true, false}) {
        cuda::gradient_as_parts(*gpu_, in_parts, add, gradient);
        const auto values = in_parts.values();
        for (std::size_t at = 0; at < values.size(); ++at) {
            const double term = at < whole.size() ? whole[at] : 0.0;
            ASSERT_EQ(values[at], add ? static_cast<double>(static_cast<float>(old[at] + term)) : term)
                << "add " << add << ", element " << at;
        }
    }
}

// So many strips that every block comes to several: more than it has in shared memory at a time.
class NarrowConvOfManyStrips : public NarrowConv {};

TEST_P(NarrowConvOfManyStrips, BackwardWeights) {
    const Both dy = random(shape().y(), 1), x = random(shape().x(), 3);
    const test::OnGpu parts(*gpu_, Owned(DType::f32, in_parts()));
    Both dw(*gpu_, Owned(DType::f32, shape().w()));
    conv2d_backward_weights(cpu_, shape(), dw.cpu, {}, GradMode::overwrite, dy.cpu, x.cpu);
    cuda::narrow_conv_backward_weights(*gpu_, shape(), parts, false, dy.on_gpu, x.on_gpu);
    collect_weight_gradients(*gpu_, std::vector<WeightCopy>{{{}, dw.on_gpu, {}, parts}});
    EXPECT_LT(dw.difference(), test::kF32Backends);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NarrowConvOfManyStrips,
                         ::testing::Values(Conv2dShape{260, 1, 2, 16, 16, 3, 3, 1, 1},
                                           Conv2dShape{130, 2, 1, 3, 16, 3, 3, 1, 1},
                                           Conv2dShape{115, 1, 1, 64, 64, 3, 3, 1, 1},
                                           Conv2dShape{70, 3, 2, 32, 64, 3, 3, 2, 1}));

// What is chosen depends on time, but that both ways can be timed does not.
TEST_F(NarrowTiming, TakesEveryConvolution) {
    for (const auto& [in, out, filter, stride] : std::vector<std::array<std::int64_t, 4>>{{3, 16, 3, 1},
                                                                                          {16, 16, 3, 1},
                                                                                          {32, 32, 3, 1},
                                                                                          {64, 64, 3, 1},
                                                                                          {16, 32, 3, 2},
                                                                                          {32, 64, 3, 2},
                                                                                          {16, 32, 1, 2},
                                                                                          {32, 64, 1, 2}}) {
        const Conv2dShape shape{1, 4, 4, in, out, filter, filter, stride, filter / 2};
        ASSERT_TRUE(cuda::is_narrow_conv(shape, DType::bf16));
        Context gpu(test::kGpu, 1);
        const cuda::NarrowChoice choice = cuda::time_narrow_conv(gpu, shape, DType::bf16);
        EXPECT_TRUE(in > 3 || !choice.backward_data);
    }
}

// batch, height, width, in, out, kernel_h, kernel_w, stride, pad
INSTANTIATE_TEST_SUITE_P(
    Shapes, NarrowConv,
    ::testing::Values(Conv2dShape{3, 32, 32, 16, 16, 3, 3, 1, 1},  // ResNet-20's: strips of half an image,
                      Conv2dShape{2, 16, 16, 32, 32, 3, 3, 1, 1},  // of half an image again,
                      Conv2dShape{5, 8, 8, 64, 64, 3, 3, 1, 1},    // whole images
                      Conv2dShape{2, 32, 32, 3, 16, 3, 3, 1, 1},   // images
                      Conv2dShape{1, 7, 5, 3, 16, 3, 3, 1, 1},
                      Conv2dShape{2, 32, 32, 16, 32, 3, 3, 2, 1},  // stride 2
                      Conv2dShape{3, 16, 16, 32, 64, 3, 3, 2, 1}, Conv2dShape{3, 32, 32, 16, 32, 1, 1, 2, 0},
                      Conv2dShape{2, 16, 16, 32, 64, 1, 1, 2, 0},
                      Conv2dShape{1, 13, 7, 16, 32, 3, 3, 2, 1},  // odd extents, a half pixel of y at the end
                      Conv2dShape{2, 5, 9, 32, 64, 3, 3, 2, 1}, Conv2dShape{1, 7, 11, 16, 32, 1, 1, 2, 0},
                      Conv2dShape{2, 1, 1, 32, 64, 1, 1, 2, 0}, Conv2dShape{1, 2, 128, 16, 32, 3, 3, 2, 1},
                      Conv2dShape{1, 1, 2, 16, 16, 3, 3, 1, 1},    // warps without a pixel
                      Conv2dShape{2, 7, 5, 32, 32, 3, 3, 1, 1},    // an odd strip
                      Conv2dShape{1, 13, 11, 64, 64, 3, 3, 1, 1},  // strips of 5, 5 and 3 rows
                      Conv2dShape{1, 3, 64, 64, 64, 3, 3, 1, 1},   // a row a strip
                      Conv2dShape{1, 19, 33, 16, 16, 3, 3, 1, 1}));

}  // namespace
}  // namespace qstep

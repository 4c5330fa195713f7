// Convolution as oneDNN computes it. ctest runs this program a second time with
// oneDNN held to AVX2, where it refuses bf16, so that the way through f32 copies is tested on any machine.
#include "kernels/cpu/onednn_conv.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// float32 sums of at most 363 products of unit normals, relative to the result's root mean square: see
// test_linear.cpp.
constexpr double kF32Tolerance = 1e-5;
// One rounding of the result to bf16, one of what is added to it, elements up to six root mean squares.
constexpr double kBf16Tolerance = 2 * 6 * test::kBf16Rounding;

struct Case {
    Conv2dShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " x " << c.shape.x().to_string() << " w " << c.shape.w().to_string()
        << " stride " << c.shape.stride << " pad " << c.shape.pad;
}

Owned bf16_weights(const Shape& shape) {
    Owned w(DType::f32, shape);
    w.set(Owned(DType::bf16, shape, 2).values());
    return w;
}

Doubles after(GradMode mode, const Doubles& before, Doubles gradient) {
    if (mode == GradMode::skip) return before;
    if (mode == GradMode::accumulate)
        for (std::size_t k = 0; k < before.size(); ++k) gradient[k] += before[k];
    return gradient;
}

class OneDnnConv : public ::testing::TestWithParam<Case> {
  protected:
    OneDnnConv()
        : context_(
              bench_.with(cpu::onednn::workspace_bytes(bench_.context, GetParam().shape, GetParam().dtype))),
          x_(dtype(), shape().x(), 1),
          w_(bf16_weights(shape().w())),
          dy_(dtype(), shape().y(), 3),
          bias_(DType::f32, {shape().out_channels}, 4) {}
    const Conv2dShape& shape() const { return GetParam().shape; }
    DType dtype() const { return GetParam().dtype; }
    double tolerance() const { return dtype() == DType::f32 ? kF32Tolerance : kBf16Tolerance; }

    test::Bench bench_;
    Context& context_;
    Owned x_, w_, dy_, bias_;
};

TEST_P(OneDnnConv, Forward) {
    for (const bool has_bias : {false, true}) {
        const Owned y(dtype(), shape().y()), again(dtype(), shape().y());
        const Tensor bias = has_bias ? bias_.tensor() : Tensor{};
        cpu::onednn::forward(context_, shape(), y, x_, w_, bias);
        const Doubles want =
            test::reference_forward(shape(), x_.values(), w_.values(), has_bias ? bias_.values() : Doubles{});
        EXPECT_LT(test::distance(y.values(), want), tolerance());
        EXPECT_TRUE(y.guard_intact());
        cpu::onednn::forward(context_, shape(), again, x_, w_, bias);
        EXPECT_TRUE(again.same_bits(y));
    }
}

TEST_P(OneDnnConv, BackwardData) {
    const Doubles gradient = test::reference_backward_data(shape(), dy_.values(), w_.values());
    for (const GradMode mode : test::kGradModes) {
        const Owned dx(dtype(), shape().x(), 5), again(dtype(), shape().x(), 5);
        const Doubles want = after(mode, dx.values(), gradient);
        cpu::onednn::backward_data(context_, shape(), dx, mode, dy_, w_);
        EXPECT_LT(test::distance(dx.values(), want), tolerance());
        EXPECT_TRUE(dx.guard_intact());
        cpu::onednn::backward_data(context_, shape(), again, mode, dy_, w_);
        EXPECT_TRUE(again.same_bits(dx));
    }
}

TEST_P(OneDnnConv, BackwardWeights) {
    const Doubles gradient = test::reference_backward_weights(shape(), dy_.values(), x_.values());
    const Doubles bias_gradient = test::reference_backward_bias(shape(), dy_.values());
    for (const GradMode mode : test::kGradModes)
        for (const bool has_bias : {false, true}) {
            const Owned dw(DType::f32, shape().w(), 6), dbias(DType::f32, {shape().out_channels}, 7);
            const Doubles want = after(mode, dw.values(), gradient);
            const Doubles want_bias = after(has_bias ? mode : GradMode::skip, dbias.values(), bias_gradient);
            cpu::onednn::backward_weights(context_, shape(), dw, has_bias ? dbias.tensor() : Tensor{}, mode,
                                          dy_, x_);
            EXPECT_LT(test::distance(dw.values(), want), kF32Tolerance);
            EXPECT_LT(test::distance(dbias.values(), want_bias), kF32Tolerance);
            EXPECT_TRUE(dw.guard_intact());
            EXPECT_TRUE(dbias.guard_intact());
        }
}

std::vector<Case> all_cases() {
    // batch, height, width, in, out, kernel_h, kernel_w, stride, pad
    const Conv2dShape shapes[] = {
        {2, 16, 16, 16, 16, 3, 3, 1, 1}, {1, 32, 32, 3, 16, 3, 3, 1, 1},  {2, 9, 9, 16, 32, 3, 3, 2, 1},
        {2, 8, 8, 16, 32, 1, 1, 2, 0},   {1, 1, 1, 1, 1, 1, 1, 1, 0},     {3, 7, 5, 10, 17, 3, 3, 1, 1},
        {1, 12, 12, 3, 6, 5, 5, 1, 0},   {1, 23, 21, 3, 8, 11, 11, 4, 2}, {2, 6, 9, 5, 7, 1, 3, 1, 1},
        {2, 10, 6, 17, 3, 2, 2, 2, 0},
    };
    std::vector<Case> cases;
    for (const Conv2dShape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, OneDnnConv, ::testing::ValuesIn(all_cases()));

TEST(OneDnnErrors, KernelLargerThanTheImageThrows) {
    Context context(Device{}, 1);
    const Conv2dShape shape{1, 2, 2, 3, 4, 5, 5, 1, 0};
    const Owned x(DType::f32, {1, 2, 2, 3}), y(DType::f32, {1, 1, 1, 4}), w(DType::f32, {4, 3, 5, 5});
    EXPECT_THROW(cpu::onednn::forward(context, shape, y, x, w, {}), Error);
}

TEST(OneDnnErrors, WrongShapesThrow) {
    test::Bench bench;
    const Conv2dShape shape{1, 4, 4, 3, 4, 3, 3, 1, 1};
    Context& context = bench.with(cpu::onednn::workspace_bytes(bench.context, shape, DType::f32));
    const Owned x(DType::f32, shape.x()), y(DType::f32, shape.y()), w(DType::f32, shape.w()),
        bias(DType::f32, {3});
    EXPECT_THROW(cpu::onednn::forward(context, shape, x, x, w, {}), Error);
    EXPECT_THROW(cpu::onednn::forward(context, shape, y, x, w, bias), Error);
    EXPECT_THROW(cpu::onednn::backward_weights(context, shape, x, {}, GradMode::overwrite, y, x), Error);
}

}  // namespace
}  // namespace qstep

// Convolution against the naive double-precision reference: the direct loops and the general path, each also
// on its own.
#include <gtest/gtest.h>

#include "kernels/cpu/conv2d_dispatch.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/onednn_conv.h"
#include "tests/kernels/conv_reference.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// float32 sums of K products of unit normals: the error of a partial sum is about sqrt(K) * 2^-24 of the
// result's root mean square, its largest over some 10^5 elements six times that. K <= 10^4 here.
constexpr double kF32Tolerance = 1e-5 * 4;
// bf16 results carry one rounding of 2^-8 of an element, elements are up to six root mean squares.
// Accumulating into bf16 rounds once more where a library adds after storing.
constexpr double kBf16Tolerance = 6 * 0x1p-8;
// w is rounded to bf16 by the kernels, so the tests give them weights that already are.
// dw in bf16 comes from float32 sums of exact products: as float32.

struct Case {
    Conv2dShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " x " << c.shape.x().to_string() << " w " << c.shape.w().to_string()
        << " stride " << c.shape.stride << " pad " << c.shape.pad;
}

double tolerance(DType dtype) {
    return dtype == DType::bf16 ? kBf16Tolerance : kF32Tolerance;
}

Doubles sum(Doubles a, const Doubles& b) {
    for (std::size_t k = 0; k < a.size(); ++k) a[k] += b[k];
    return a;
}

// Weights of unit variance per output, exactly representable in bf16.
Owned make_weights(const Conv2dShape& shape) {
    const Owned rounded(DType::bf16, shape.w(), 2, 1 / std::sqrt(static_cast<double>(shape.in_channels)));
    Owned w(DType::f32, shape.w());
    w.set(rounded.values());
    return w;
}

struct Operands {
    explicit Operands(const Case& c)
        : x(c.dtype, c.shape.x(), 1),
          w(make_weights(c.shape)),
          dy(c.dtype, c.shape.y(), 3),
          bias(DType::f32, {c.shape.out_channels}, 4),
          dx_before(c.dtype, c.shape.x(), 5),
          dw_before(DType::f32, c.shape.w(), 6),
          dbias_before(DType::f32, {c.shape.out_channels}, 7) {}
    Owned x, w, dy, bias, dx_before, dw_before, dbias_before;
};

class Conv2d : public ::testing::TestWithParam<Case> {
  protected:
    Conv2d() : context_(Device{}, 2), operands_(GetParam()) {
        context_.workspace().reserve(conv2d_workspace(context_, shape(), GetParam().dtype));
        context_.workspace().freeze();
    }
    const Conv2dShape& shape() const { return GetParam().shape; }

    Context context_;
    Operands operands_;
};

TEST_P(Conv2d, Forward) {
    for (const bool has_bias : {false, true}) {
        const Owned y(GetParam().dtype, shape().y());
        conv2d_forward(context_, shape(), y, operands_.x, operands_.w,
                       has_bias ? operands_.bias.tensor() : Tensor{});
        const Doubles expected = test::reference_forward(shape(), operands_.x.values(), operands_.w.values(),
                                                         has_bias ? operands_.bias.values() : Doubles{});
        EXPECT_LT(test::distance(y.values(), expected), tolerance(GetParam().dtype)) << "bias " << has_bias;
        EXPECT_TRUE(y.guard_intact());
    }
}

TEST_P(Conv2d, BackwardData) {
    const Doubles gradient =
        test::reference_backward_data(shape(), operands_.dy.values(), operands_.w.values());
    for (const GradMode mode : {GradMode::skip, GradMode::overwrite, GradMode::accumulate}) {
        const Owned dx(GetParam().dtype, shape().x(), 5);
        conv2d_backward_data(context_, shape(), dx, mode, operands_.dy, operands_.w);
        EXPECT_EQ(dx.same_bits(operands_.dx_before), mode == GradMode::skip);
        const Doubles expected = mode == GradMode::skip        ? operands_.dx_before.values()
                                 : mode == GradMode::overwrite ? gradient
                                                               : sum(operands_.dx_before.values(), gradient);
        EXPECT_LT(test::distance(dx.values(), expected), tolerance(GetParam().dtype));
        EXPECT_TRUE(dx.guard_intact());
    }
}

TEST_P(Conv2d, BackwardWeights) {
    const Doubles gradient =
        test::reference_backward_weights(shape(), operands_.dy.values(), operands_.x.values());
    const Doubles bias_gradient = test::reference_backward_bias(shape(), operands_.dy.values());
    for (const GradMode mode : {GradMode::overwrite, GradMode::accumulate})
        for (const bool has_bias : {false, true}) {
            const Owned dw(DType::f32, shape().w(), 6), dbias(DType::f32, {shape().out_channels}, 7);
            conv2d_backward_weights(context_, shape(), dw, has_bias ? dbias.tensor() : Tensor{}, mode,
                                    operands_.dy, operands_.x);
            const bool add = mode == GradMode::accumulate;
            EXPECT_LT(
                test::distance(dw.values(), add ? sum(gradient, operands_.dw_before.values()) : gradient),
                kF32Tolerance);
            if (has_bias) {
                EXPECT_LT(
                    test::distance(dbias.values(),
                                   add ? sum(bias_gradient, operands_.dbias_before.values()) : bias_gradient),
                    kF32Tolerance);
            }
            EXPECT_TRUE(dw.guard_intact());
        }
}

std::vector<Case> all_cases() {
    // batch, height, width, in, out, kernel_h, kernel_w, stride, pad
    const Conv2dShape shapes[] = {
        {2, 32, 32, 16, 16, 3, 3, 1, 1},  // the network's own: direct
        {2, 32, 32, 3, 16, 3, 3, 1, 1},  {1, 32, 32, 16, 32, 3, 3, 2, 1},
        {3, 32, 32, 16, 32, 1, 1, 2, 0}, {3, 16, 16, 32, 32, 3, 3, 1, 1},
        {5, 16, 16, 32, 64, 3, 3, 2, 1}, {3, 8, 8, 64, 64, 3, 3, 1, 1},
        {1, 13, 11, 16, 48, 3, 3, 1, 1},  // odd extents, tails of tiles, one vector of channels at a time
        {3, 17, 19, 48, 32, 3, 3, 2, 1}, {2, 9, 18, 32, 16, 1, 3, 1, 0},  // rectangular kernels
        {2, 10, 9, 16, 32, 3, 2, 1, 1},  {2, 20, 21, 16, 16, 2, 2, 2, 0},
        {1, 19, 17, 32, 32, 2, 3, 2, 1}, {2, 9, 20, 16, 16, 3, 3, 1, 2},  // more padding than "same"
        {3, 12, 40, 3, 32, 3, 3, 2, 1},  {2, 11, 10, 3, 48, 1, 1, 1, 0},
        {2, 7, 5, 16, 16, 3, 3, 1, 1},                                   // general path: short rows,
        {1, 1, 1, 16, 16, 3, 3, 1, 1},   {3, 14, 13, 5, 7, 3, 3, 1, 1},  // other channel counts,
        {1, 12, 12, 3, 6, 5, 5, 1, 0},                                   // other kernels,
        {2, 23, 21, 3, 8, 11, 11, 4, 2}, {5, 6, 9, 16, 16, 5, 1, 1, 2},
    };
    std::vector<Case> cases;
    for (const Conv2dShape& shape : shapes)
        for (const DType dtype : {DType::f32, DType::bf16}) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Conv2d, ::testing::ValuesIn(all_cases()));

}  // namespace
}  // namespace qstep

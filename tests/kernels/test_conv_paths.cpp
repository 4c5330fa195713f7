// The direct loops and the oneDNN path each called by name, so that both are tested whatever the dispatch
// prefers; and what holds for them beyond the values: repeatability, independence of the thread count.
#include <gtest/gtest.h>

#include "kernels/cpu/conv2d_dispatch.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/onednn_conv.h"
#include "tests/kernels/conv_reference.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// As in test_conv2d.cpp.
constexpr double kF32Tolerance = 1e-5 * 4;
constexpr double kBf16Tolerance = 6 * 0x1p-8;

double tolerance(DType dtype) {
    return dtype == DType::bf16 ? kBf16Tolerance : kF32Tolerance;
}

// One of each kind of loop; some with rows so short that the dispatch would not take them.
const Conv2dShape kShapes[] = {
    {3, 32, 32, 16, 16, 3, 3, 1, 1}, {3, 16, 16, 32, 32, 3, 3, 1, 1}, {3, 32, 32, 16, 32, 3, 3, 2, 1},
    {3, 16, 16, 32, 64, 1, 1, 2, 0}, {3, 5, 7, 32, 16, 3, 3, 1, 1},   {1, 1, 1, 16, 16, 3, 3, 1, 1},
    {2, 3, 2, 48, 32, 2, 2, 2, 1},   {3, 9, 6, 3, 16, 3, 3, 1, 1},    {1, 2, 3, 16, 16, 3, 3, 2, 2},
};

struct Results {
    Owned y, dx, dw;
    std::vector<float> shift;
    std::vector<double> sums;
};

class Paths : public ::testing::TestWithParam<DType> {
  protected:
    Owned x(const Conv2dShape& shape) const { return {GetParam(), shape.x(), 1, 1, 0.5}; }
    Owned dy(const Conv2dShape& shape) const { return {GetParam(), shape.y(), 3}; }
    Owned w(const Conv2dShape& shape) const {
        const Owned rounded(DType::bf16, shape.w(), 2, 0.25);
        Owned result(DType::f32, shape.w());
        result.set(rounded.values());
        return result;
    }

    Results direct(const Conv2dShape& shape, int threads) const {
        Results r{{GetParam(), shape.y()}, {GetParam(), shape.x()}, {DType::f32, shape.w()}, {}, {}};
        Context context(Device{}, threads);
        const std::size_t own = cpu::direct::workspace_bytes(context, shape, GetParam());
        context.workspace().reserve(own + cpu::MomentPartials::bytes(threads, shape.out_channels));
        context.workspace().freeze();
        auto* workspace = static_cast<std::byte*>(context.workspace().lend(own));
        auto moments = cpu::MomentPartials::in(workspace + own, threads, shape.out_channels);
        cpu::direct::forward(context, workspace, shape, r.y, x(shape), w(shape), &moments);
        const auto cells = static_cast<std::size_t>(threads * shape.out_channels);
        r.shift.assign(moments.shift, moments.shift + cells);
        r.sums.assign(moments.sum, moments.sum + cells);
        r.sums.insert(r.sums.end(), moments.square_sum, moments.square_sum + cells);
        const GradMode dx_mode = shape.in_channels == 3 ? GradMode::skip : GradMode::overwrite;
        cpu::direct::backward(context, workspace, shape, r.dx, dx_mode, r.dw, GradMode::overwrite,
                              {.dz = dy(shape)}, x(shape), w(shape));
        return r;
    }

    void expect_right(const Conv2dShape& shape, const Results& r, bool has_dx) const {
        const Doubles xs = x(shape).values(), ws = w(shape).values(), dys = dy(shape).values();
        EXPECT_LT(test::distance(r.y.values(), test::reference_forward(shape, xs, ws, {})),
                  tolerance(GetParam()));
        if (has_dx) {
            EXPECT_LT(test::distance(r.dx.values(), test::reference_backward_data(shape, dys, ws)),
                      tolerance(GetParam()));
        }
        EXPECT_LT(test::distance(r.dw.values(), test::reference_backward_weights(shape, dys, xs)),
                  kF32Tolerance);
        EXPECT_TRUE(r.y.guard_intact() && r.dx.guard_intact() && r.dw.guard_intact());
    }
};

TEST_P(Paths, Direct) {
    for (const Conv2dShape& shape : kShapes) {
        if (!cpu::direct::supports(shape, GetParam())) GTEST_SKIP() << "no AVX-512 for this type here";
        SCOPED_TRACE(shape.x().to_string() + " " + shape.w().to_string());
        expect_right(shape, direct(shape, 2), shape.in_channels != 3);
    }
}

TEST_P(Paths, OneDnn) {
    for (const Conv2dShape& shape : kShapes) {
        SCOPED_TRACE(shape.x().to_string() + " " + shape.w().to_string());
        Context context(Device{}, 2);
        context.workspace().reserve(cpu::onednn::workspace_bytes(context, shape, GetParam()));
        context.workspace().freeze();
        const Results r{{GetParam(), shape.y()}, {GetParam(), shape.x()}, {DType::f32, shape.w()}, {}, {}};
        cpu::onednn::forward(context, shape, r.y, x(shape), w(shape), {});
        cpu::onednn::backward_data(context, shape, r.dx, GradMode::overwrite, dy(shape), w(shape));
        cpu::onednn::backward_weights(context, shape, r.dw, {}, GradMode::overwrite, dy(shape), x(shape));
        expect_right(shape, r, true);
    }
}

TEST_P(Paths, DirectRepeatsBitwise) {
    for (const Conv2dShape& shape : kShapes) {
        if (!cpu::direct::supports(shape, GetParam())) GTEST_SKIP() << "no AVX-512 for this type here";
        const Results a = direct(shape, 2), b = direct(shape, 2);
        EXPECT_TRUE(a.y.same_bits(b.y) && a.dw.same_bits(b.dw));
        if (shape.in_channels != 3) {
            EXPECT_TRUE(a.dx.same_bits(b.dx));
        }
        // Threads without an image leave their moments alone; the count says so.
        if (shape.batch > 1) {
            EXPECT_TRUE(a.shift == b.shift && a.sums == b.sums);
        }
    }
}

// More threads than images among them: y and dx do not change at all, dw only in the order of its sums.
TEST_P(Paths, DirectThreads) {
    for (const Conv2dShape& shape : kShapes) {
        if (!cpu::direct::supports(shape, GetParam())) GTEST_SKIP() << "no AVX-512 for this type here";
        const Results one = direct(shape, 1);
        for (const int threads : {2, 4}) {
            const Results many = direct(shape, threads);
            EXPECT_TRUE(one.y.same_bits(many.y));
            if (shape.in_channels != 3) {
                EXPECT_TRUE(one.dx.same_bits(many.dx));
            }
            EXPECT_LT(test::distance(many.dw.values(), one.dw.values()), kF32Tolerance);
        }
    }
}

// The dispatch sends the network's own shapes to the direct loops wherever these run.
TEST_P(Paths, Dispatch) {
    if (!cpu::direct::supports(kShapes[0], GetParam())) GTEST_SKIP() << "no AVX-512 for this type here";
    if (!cpu::takes_direct_convolution(kShapes[0], GetParam(), false))
        GTEST_SKIP() << "oneDNN is preferred for this type here";
    EXPECT_TRUE(cpu::takes_direct_convolution({128, 32, 32, 3, 16, 3, 3, 1, 1}, GetParam(), false));
    EXPECT_TRUE(cpu::takes_direct_convolution({128, 16, 16, 32, 64, 1, 1, 2, 0}, GetParam(), false));
    EXPECT_FALSE(cpu::takes_direct_convolution({128, 8, 8, 192, 384, 3, 3, 1, 1}, GetParam(), true));
    EXPECT_FALSE(cpu::takes_direct_convolution({128, 32, 32, 3, 64, 11, 11, 4, 5}, GetParam(), false));
    EXPECT_FALSE(cpu::takes_direct_convolution({128, 32, 32, 8, 16, 3, 3, 1, 1}, GetParam(), false));
}

INSTANTIATE_TEST_SUITE_P(Types, Paths, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace qstep

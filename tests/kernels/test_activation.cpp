// ReLU and addition. Both are exact up to one rounding, so results are compared bit for bit with float32
// arithmetic written out.
#include <limits>

#include "kernels/activation.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// One element, one short of a vector, a vector, past the serial limit with a tail.
constexpr std::int64_t kCounts[] = {1, 15, 64, 1000, 20011};

class Activation : public ::testing::TestWithParam<DType> {
  protected:
    DType dtype() const { return GetParam(); }
    Context context_{Device{}, 2};
};

// What `mode` leaves where `before` stood and `gradient` comes in.
Doubles after(GradMode mode, DType dtype, const Doubles& before, const Doubles& gradient) {
    Doubles result(before);
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (mode == GradMode::overwrite) result[i] = gradient[i];
        if (mode == GradMode::accumulate)
            result[i] = test::rounded(
                dtype, static_cast<double>(static_cast<float>(gradient[i]) + static_cast<float>(before[i])));
    }
    return result;
}

TEST_P(Activation, ReluKeepsThePositive) {
    for (const std::int64_t count : kCounts) {
        const Owned x(dtype(), {count}, 1), out(dtype(), {count});
        relu_forward(context_, out, x);
        Doubles want = x.values();
        for (double& value : want) value = std::max(value, 0.0);
        test::expect_same(out.values(), want);
        EXPECT_TRUE(out.guard_intact());
        relu_forward(context_, x, x);
        EXPECT_TRUE(x.same_bits(out));
    }
}

TEST_P(Activation, ReluPassesNanAndInfinity) {
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    const Doubles values{nan, inf, -inf, 0.0, -0.0, -1e-30, 1e-30};
    Owned x(dtype(), {7});
    const Owned out(dtype(), {7});
    x.set(values);
    relu_forward(context_, out, x);
    const Doubles got = out.values();
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_EQ(got[1], inf);
    for (std::size_t i = 2; i < 6; ++i) EXPECT_EQ(got[i], 0.0);
    EXPECT_GT(got[6], 0.0);
}

TEST_P(Activation, ReluBackwardMasksByTheOutput) {
    for (const std::int64_t count : kCounts)
        for (const GradMode mode : test::kGradModes) {
            const Owned x(dtype(), {count}, 1), out(dtype(), {count}), dout(dtype(), {count}, 2),
                dx(dtype(), {count}, 3);
            relu_forward(context_, out, x);
            const Doubles before = dx.values(), mask = out.values();
            Doubles gradient = dout.values();
            for (std::size_t i = 0; i < gradient.size(); ++i)
                if (!(mask[i] > 0)) gradient[i] = 0;
            relu_backward(context_, dx, mode, dout, out);
            test::expect_same(dx.values(), after(mode, dtype(), before, gradient));
            EXPECT_TRUE(dx.guard_intact());
        }
}

TEST_P(Activation, ReluBackwardInPlaceAndWithInfiniteGradient) {
    Owned dout(dtype(), {3}), out(dtype(), {3});
    const double inf = std::numeric_limits<double>::infinity();
    dout.set({inf, inf, 2});
    out.set({0, 1, 1});
    relu_backward(context_, dout, GradMode::overwrite, dout, out);
    EXPECT_EQ(dout.values(), (Doubles{0, inf, 2}));
}

TEST_P(Activation, AddRoundsOnce) {
    for (const std::int64_t count : kCounts) {
        const Owned a(dtype(), {count}, 1), b(dtype(), {count}, 2), out(dtype(), {count});
        const Doubles want = after(GradMode::accumulate, dtype(), a.values(), b.values());
        add_forward(context_, out, a, b);
        test::expect_same(out.values(), want);
        EXPECT_TRUE(out.guard_intact());
        const Owned second(dtype(), {count}, 2);
        add_forward(context_, second, a, second);
        EXPECT_TRUE(second.same_bits(out));
        add_forward(context_, a, a, b);
        EXPECT_TRUE(a.same_bits(out));
    }
}

TEST_P(Activation, AddBackwardObeysTheMode) {
    for (const std::int64_t count : kCounts)
        for (const GradMode mode : test::kGradModes) {
            const Owned to(dtype(), {count}, 1), from(dtype(), {count}, 2);
            const Doubles want = after(mode, dtype(), to.values(), from.values());
            add_backward(context_, to, mode, from);
            test::expect_same(to.values(), want);
            EXPECT_TRUE(to.guard_intact());
        }
}

TEST_P(Activation, WrongShapeOrTypeThrows) {
    const Owned x(dtype(), {4}), shorter(dtype(), {3}),
        other(dtype() == DType::f32 ? DType::bf16 : DType::f32, {4});
    EXPECT_THROW(relu_forward(context_, shorter, x), Error);
    EXPECT_THROW(relu_backward(context_, x, GradMode::overwrite, x, other), Error);
    EXPECT_THROW(add_forward(context_, x, x, other), Error);
    EXPECT_THROW(add_backward(context_, shorter, GradMode::accumulate, x), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, Activation, ::testing::ValuesIn(test::kFloatTypes),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace qstep

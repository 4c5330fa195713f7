#include <limits>

#include "kernels/pooling.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

struct Case {
    PoolShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " x " << c.shape.x().to_string() << " kernel " << c.shape.kernel << " stride "
        << c.shape.stride;
}

// Calls visit(index in y, index in x) for every element of every window, windows in row-major order.
template <typename Visit>
void for_each_element(const PoolShape& s, const Visit& visit) {
    for (std::int64_t n = 0; n < s.batch; ++n)
        for (std::int64_t p = 0; p < s.out_height(); ++p)
            for (std::int64_t q = 0; q < s.out_width(); ++q)
                for (std::int64_t i = 0; i < s.kernel; ++i)
                    for (std::int64_t j = 0; j < s.kernel; ++j)
                        for (std::int64_t c = 0; c < s.channels; ++c) {
                            const std::int64_t h = p * s.stride + i, w = q * s.stride + j;
                            visit(((n * s.out_height() + p) * s.out_width() + q) * s.channels + c,
                                  ((n * s.height + h) * s.width + w) * s.channels + c);
                        }
}

// Index in x of every window's maximum as PyTorch finds it: a later element wins when larger, or NaN.
std::vector<std::int64_t> chosen_elements(const PoolShape& s, const Doubles& x) {
    std::vector<std::int64_t> chosen(static_cast<std::size_t>(s.y().count()), -1);
    for_each_element(s, [&](std::int64_t to, std::int64_t from) {
        auto& best = chosen[static_cast<std::size_t>(to)];
        const double value = x[static_cast<std::size_t>(from)];
        if (best < 0 || value > x[static_cast<std::size_t>(best)] || std::isnan(value)) best = from;
    });
    return chosen;
}

Doubles after(GradMode mode, Doubles before, const Doubles& gradient) {
    if (mode == GradMode::overwrite) return gradient;
    if (mode == GradMode::accumulate)
        for (std::size_t i = 0; i < before.size(); ++i) before[i] += gradient[i];
    return before;
}

class Pooling : public ::testing::TestWithParam<Case> {
  protected:
    const PoolShape& shape() const { return GetParam().shape; }
    DType dtype() const { return GetParam().dtype; }
    // Values from a handful, so that most windows hold ties; every element of bf16 is exact.
    Owned tied_input() const {
        Owned x(dtype(), shape().x(), 1, 2.0);
        Doubles values = x.values();
        for (double& value : values) value = std::round(value);
        x.set(values);
        return x;
    }
    // Sums of at most kernel^2 terms in float32, one rounding to the type; magnitudes up to some units.
    double tolerance() const {
        return test::rounding_of(dtype()) * 2 +
               test::kF32Rounding * static_cast<double>(shape().kernel * shape().kernel);
    }
    Context context_{Device{}, 2};
};

TEST_P(Pooling, MaximumIsExact) {
    const Owned x = tied_input(), y(dtype(), shape().y());
    max_pool_forward(context_, shape(), y, x);
    const Doubles values = x.values();
    Doubles want;
    for (const std::int64_t at : chosen_elements(shape(), values))
        want.push_back(values[static_cast<std::size_t>(at)]);
    test::expect_same(y.values(), want);
    EXPECT_TRUE(y.guard_intact());
}

TEST_P(Pooling, MaximumSendsTheGradientToTheFirstOfEquals) {
    for (const GradMode mode : test::kGradModes) {
        const Owned x = tied_input(), dy(dtype(), shape().y(), 2), dx(dtype(), shape().x(), 3);
        Doubles gradient(static_cast<std::size_t>(shape().x().count()), 0.0);
        const Doubles incoming = dy.values();
        const auto chosen = chosen_elements(shape(), x.values());
        for (std::size_t k = 0; k < chosen.size(); ++k)
            gradient[static_cast<std::size_t>(chosen[k])] += incoming[k];
        const Doubles want = after(mode, dx.values(), gradient);
        max_pool_backward(context_, shape(), dx, mode, dy, x);
        test::expect_close(dx.values(), want, tolerance(), tolerance());
        EXPECT_TRUE(dx.guard_intact());
    }
}

TEST_P(Pooling, MaximumLetsNanWin) {
    Owned x(dtype(), shape().x(), 1);
    const Owned y(dtype(), shape().y()), dy(dtype(), shape().y(), 2), dx(dtype(), shape().x());
    Doubles values = x.values();
    for (std::size_t i = 0; i < values.size(); i += 3) values[i] = std::numeric_limits<double>::quiet_NaN();
    x.set(values);
    max_pool_forward(context_, shape(), y, x);
    max_pool_backward(context_, shape(), dx, GradMode::overwrite, dy, x);
    const auto chosen = chosen_elements(shape(), values);
    Doubles want, gradient(values.size(), 0.0);
    const Doubles incoming = dy.values();
    for (std::size_t k = 0; k < chosen.size(); ++k) {
        want.push_back(values[static_cast<std::size_t>(chosen[k])]);
        gradient[static_cast<std::size_t>(chosen[k])] += incoming[k];
    }
    test::expect_same(y.values(), want);
    test::expect_close(dx.values(), gradient, tolerance(), tolerance());
}

TEST_P(Pooling, AverageOfTheWindow) {
    const Owned x(dtype(), shape().x(), 1), y(dtype(), shape().y());
    average_pool_forward(context_, shape(), y, x);
    const Doubles values = x.values();
    Doubles want(static_cast<std::size_t>(shape().y().count()), 0.0);
    const auto window = static_cast<double>(shape().kernel * shape().kernel);
    for_each_element(shape(), [&](std::int64_t to, std::int64_t from) {
        want[static_cast<std::size_t>(to)] += values[static_cast<std::size_t>(from)] / window;
    });
    test::expect_close(y.values(), want, tolerance(), tolerance());
    EXPECT_TRUE(y.guard_intact());
}

TEST_P(Pooling, AverageSpreadsTheGradient) {
    for (const GradMode mode : test::kGradModes) {
        const Owned dy(dtype(), shape().y(), 2), dx(dtype(), shape().x(), 3);
        const Doubles incoming = dy.values();
        Doubles gradient(static_cast<std::size_t>(shape().x().count()), 0.0);
        const auto window = static_cast<double>(shape().kernel * shape().kernel);
        for_each_element(shape(), [&](std::int64_t to, std::int64_t from) {
            gradient[static_cast<std::size_t>(from)] += incoming[static_cast<std::size_t>(to)] / window;
        });
        const Doubles want = after(mode, dx.values(), gradient);
        average_pool_backward(context_, shape(), dx, mode, dy);
        test::expect_close(dx.values(), want, tolerance(), tolerance());
        EXPECT_TRUE(dx.guard_intact());
    }
}

TEST_P(Pooling, DoesNotDependOnTheThreadCount) {
    Context serial(Device{}, 1);
    const Owned x = tied_input(), dy(dtype(), shape().y(), 2);
    const Owned y1(dtype(), shape().y()), y2(dtype(), shape().y());
    const Owned dx1(dtype(), shape().x(), 3), dx2(dtype(), shape().x(), 3);
    max_pool_forward(context_, shape(), y1, x);
    max_pool_forward(serial, shape(), y2, x);
    EXPECT_TRUE(y1.same_bits(y2));
    average_pool_forward(context_, shape(), y1, x);
    average_pool_forward(serial, shape(), y2, x);
    EXPECT_TRUE(y1.same_bits(y2));
    max_pool_backward(context_, shape(), dx1, GradMode::overwrite, dy, x);
    max_pool_backward(serial, shape(), dx2, GradMode::overwrite, dy, x);
    EXPECT_TRUE(dx1.same_bits(dx2));
    average_pool_backward(context_, shape(), dx1, GradMode::accumulate, dy);
    average_pool_backward(serial, shape(), dx2, GradMode::accumulate, dy);
    EXPECT_TRUE(dx1.same_bits(dx2));
}

std::vector<Case> all_cases() {
    const PoolShape shapes[] = {
        {16, 8, 8, 64, 8, 8},                       // global
        {3, 9, 9, 17, 3, 2},                        // overlapping windows
        {8, 16, 16, 16, 2, 2}, {1, 5, 7, 3, 2, 2},  // a last row and column that no window reaches
        {2, 6, 5, 10, 3, 1},   {1, 7, 4, 1, 2, 3},  // gaps between windows
        {2, 3, 3, 70, 1, 1},   {1, 1, 1, 1, 1, 1}, {2, 8, 8, 64, 4, 4}, {1, 6, 9, 130, 5, 3},
    };
    std::vector<Case> cases;
    for (const PoolShape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Pooling, ::testing::ValuesIn(all_cases()));

TEST(PoolingErrors, WindowThatDoesNotFitThrows) {
    Context context(Device{}, 1);
    const PoolShape shape{1, 4, 4, 2, 5, 1};
    const Owned x(DType::f32, {1, 4, 4, 2}), y(DType::f32, {1, 1, 1, 2});
    EXPECT_THROW(max_pool_forward(context, shape, y, x), Error);
    EXPECT_THROW(average_pool_forward(context, shape, y, x), Error);
}

}  // namespace
}  // namespace qstep

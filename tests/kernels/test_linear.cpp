#include "kernels/linear.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// float32 sums of K products of unit normals: a partial sum's error is about sqrt(K) * 2^-24 of the result's
// root mean square, its largest over 10^5 elements some six times that. K <= 600 here.
constexpr double kF32Tolerance = 1e-5;
// bf16 results carry one rounding of 2^-8 of an element, which is up to six root mean squares; accumulating
// rounds an element once more.
constexpr double kBf16Tolerance = 2 * 6 * test::kBf16Rounding;

struct Case {
    LinearShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " " << c.shape.batch << " rows, " << c.shape.in_features << " to "
        << c.shape.out_features;
}

Doubles sum(Doubles a, const Doubles& b) {
    for (std::size_t k = 0; k < a.size(); ++k) a[k] += b[k];
    return a;
}

// c[i,j] = sum_k a(i,k) * b(k,j)
template <typename A, typename B>
Doubles product(std::int64_t rows, std::int64_t inner, std::int64_t columns, const A& a, const B& b) {
    Doubles c(static_cast<std::size_t>(rows * columns), 0.0);
    for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t k = 0; k < inner; ++k)
            for (std::int64_t j = 0; j < columns; ++j)
                c[static_cast<std::size_t>(i * columns + j)] += a(i, k) * b(k, j);
    return c;
}

auto row_major(const Doubles& values, std::int64_t columns) {
    return [&values, columns](std::int64_t i, std::int64_t j) {
        return values[static_cast<std::size_t>(i * columns + j)];
    };
}

auto transposed(const Doubles& values, std::int64_t columns) {
    return [&values, columns](std::int64_t i, std::int64_t j) {
        return values[static_cast<std::size_t>(j * columns + i)];
    };
}

// Weights that bf16 holds exactly: the kernels round them, the reference does not.
Owned make_weights(const LinearShape& s) {
    const Shape shape{s.out_features, s.in_features};
    Owned w(DType::f32, shape);
    w.set(Owned(DType::bf16, shape, 2).values());
    return w;
}

class Linear : public ::testing::TestWithParam<Case> {
  protected:
    Linear()
        : context_(bench_.with(linear_workspace(bench_.context, GetParam().shape, GetParam().dtype))),
          x_(dtype(), x_shape(), 1),
          w_(make_weights(shape())),
          dy_(dtype(), y_shape(), 3) {}
    const LinearShape& shape() const { return GetParam().shape; }
    DType dtype() const { return GetParam().dtype; }
    Shape x_shape() const { return {shape().batch, shape().in_features}; }
    Shape y_shape() const { return {shape().batch, shape().out_features}; }
    Shape w_shape() const { return {shape().out_features, shape().in_features}; }
    double tolerance() const { return dtype() == DType::f32 ? kF32Tolerance : kBf16Tolerance; }

    test::Bench bench_;
    Context& context_;
    Owned x_, w_, dy_;
};

TEST_P(Linear, Forward) {
    const auto [n, i, o] = shape();
    const Doubles x = x_.values(), w = w_.values();
    for (const bool has_bias : {false, true}) {
        const Owned y(dtype(), y_shape()), bias(DType::f32, {o}, 4);
        Doubles want = product(n, i, o, row_major(x, i), transposed(w, i));
        if (has_bias)
            for (std::size_t k = 0; k < want.size(); ++k)
                want[k] += bias.values()[k % static_cast<std::size_t>(o)];
        linear_forward(context_, shape(), y, x_, w_, has_bias ? bias.tensor() : Tensor{});
        EXPECT_LT(test::distance(y.values(), want), tolerance()) << "bias " << has_bias;
        EXPECT_TRUE(y.guard_intact());
        const Owned again(dtype(), y_shape());
        linear_forward(context_, shape(), again, x_, w_, has_bias ? bias.tensor() : Tensor{});
        EXPECT_TRUE(again.same_bits(y));
    }
}

TEST_P(Linear, BackwardData) {
    const auto [n, i, o] = shape();
    const Doubles dy = dy_.values(), w = w_.values();
    const Doubles gradient = product(n, o, i, row_major(dy, o), row_major(w, i));
    for (const GradMode mode : test::kGradModes) {
        const Owned dx(dtype(), x_shape(), 5);
        const Doubles before = dx.values();
        linear_backward_data(context_, shape(), dx, mode, dy_, w_);
        EXPECT_LT(test::distance(dx.values(), mode == GradMode::skip        ? before
                                              : mode == GradMode::overwrite ? gradient
                                                                            : sum(before, gradient)),
                  tolerance());
        EXPECT_TRUE(dx.guard_intact());
    }
}

TEST_P(Linear, BackwardWeights) {
    const auto [n, i, o] = shape();
    const Doubles dy = dy_.values(), x = x_.values();
    const Doubles gradient = product(o, n, i, transposed(dy, o), row_major(x, i));
    Doubles bias_gradient(static_cast<std::size_t>(o), 0.0);
    for (std::size_t k = 0; k < dy.size(); ++k) bias_gradient[k % bias_gradient.size()] += dy[k];
    for (const GradMode mode : test::kGradModes)
        for (const bool has_bias : {false, true}) {
            const Owned dw(DType::f32, w_shape(), 6), dbias(DType::f32, {o}, 7);
            const Doubles before = dw.values(), bias_before = dbias.values();
            linear_backward_weights(context_, shape(), dw, has_bias ? dbias.tensor() : Tensor{}, mode, dy_,
                                    x_);
            const auto expected = [mode](const Doubles& old, const Doubles& now) {
                return mode == GradMode::skip ? old : mode == GradMode::overwrite ? now : sum(old, now);
            };
            // bf16 factors multiply exactly into float32 sums: as accurate as float32.
            EXPECT_LT(test::distance(dw.values(), expected(before, gradient)), kF32Tolerance);
            EXPECT_LT(
                test::distance(dbias.values(), has_bias ? expected(bias_before, bias_gradient) : bias_before),
                kF32Tolerance);
            EXPECT_TRUE(dw.guard_intact());
            EXPECT_TRUE(dbias.guard_intact());
        }
}

TEST_P(Linear, OneThreadGivesTheSameUpToRounding) {
    const auto [n, i, o] = shape();
    test::Bench serial(1);
    Context& one = serial.with(linear_workspace(serial.context, shape(), dtype()));
    const Owned y1(dtype(), y_shape()), y2(dtype(), y_shape());
    linear_forward(one, shape(), y1, x_, w_, {});
    linear_forward(context_, shape(), y2, x_, w_, {});
    EXPECT_LT(test::distance(y1.values(), y2.values()), tolerance());
    const Owned db1(DType::f32, {o}), db2(DType::f32, {o}), dw(DType::f32, w_shape());
    linear_backward_weights(one, shape(), dw, db1, GradMode::overwrite, dy_, x_);
    linear_backward_weights(context_, shape(), dw, db2, GradMode::overwrite, dy_, x_);
    EXPECT_TRUE(db1.same_bits(db2));
}

std::vector<Case> all_cases() {
    const LinearShape shapes[] = {{1, 1, 1},      {7, 5, 3},    {128, 64, 10}, {3, 256, 33},
                                  {64, 200, 100}, {1, 600, 17}, {2, 1, 70},    {130, 3, 1}};
    std::vector<Case> cases;
    for (const LinearShape& shape : shapes)
        for (const DType dtype : test::kFloatTypes) cases.push_back({shape, dtype});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Linear, ::testing::ValuesIn(all_cases()));

TEST(LinearShapes, RowsMayHaveAnyShape) {
    const LinearShape shape{3, 8, 2};
    test::Bench bench;
    Context& context = bench.with(linear_workspace(bench.context, shape, DType::f32));
    const Owned flat(DType::f32, {3, 8}, 1), image(DType::f32, {3, 2, 2, 2}, 1), w(DType::f32, {2, 8}, 2);
    const Owned y1(DType::f32, {3, 2}), y2(DType::f32, {3, 1, 1, 2});
    linear_forward(context, shape, y1, flat, w, {});
    linear_forward(context, shape, y2, image, w, {});
    EXPECT_TRUE(y1.same_bits(y2));
    EXPECT_THROW(linear_forward(context, shape, y1, w, w, {}), Error);
    EXPECT_THROW(linear_forward(context, shape, y1, flat, flat, {}), Error);
}

}  // namespace
}  // namespace qstep

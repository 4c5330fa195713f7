// Pooling on CUDA against the CPU backend.
#include "kernels/pooling.h"
#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

struct Case {
    PoolShape shape;
    DType dtype;
};

void PrintTo(const Case& c, std::ostream* to) {
    *to << name_of(c.dtype) << " " << c.shape.x().to_string() << " kernel " << c.shape.kernel << " stride "
        << c.shape.stride;
}

class PoolingOnCuda : public test::OnBoth, public ::testing::WithParamInterface<Case> {
  protected:
    const PoolShape& shape() const { return GetParam().shape; }
    DType dtype() const { return GetParam().dtype; }
    Twin x_like(std::uint64_t seed) { return Twin(gpu(), dtype(), shape().x(), seed, 1.0); }
    Twin y_like(std::uint64_t seed) { return Twin(gpu(), dtype(), shape().y(), seed, 1.0); }
    // Values from a handful, so that most windows hold ties, and now and then NaN.
    Twin tied_input() {
        Twin x = x_like(1);
        for (std::int64_t i = 0; i < shape().x().count(); ++i) {
            const float value = i % 7 == 6 ? NAN : static_cast<float>(i * i % 5);
            if (dtype() == DType::f32)
                x.cpu().as<float>()[i] = value;
            else
                x.cpu().as<bf16>()[i] = to_bf16(value);
        }
        x.upload();
        return x;
    }
    // Sums of at most kernel^2 terms in float32, in another order, and one rounding to the type, which
    // another last bit can move.
    double tolerance() const {
        return (dtype() == DType::bf16 ? 2 * test::kBf16Rounding : 0) +
               test::kF32Rounding * static_cast<double>(4 + shape().kernel * shape().kernel);
    }
};

TEST_P(PoolingOnCuda, Maximum) {
    Twin x = tied_input(), y = y_like(2), dy = y_like(3);
    QSTEP_ON_BOTH(c, max_pool_forward(c, shape(), y.on(c), x.on(c)));
    y.expect_same_values();
    for (const GradMode mode : test::kGradModes) {
        Twin dx = x_like(4);
        QSTEP_ON_BOTH(c, max_pool_backward(c, shape(), dx.on(c), mode, dy.on(c), x.on(c)));
        dx.expect_close(tolerance(), tolerance());
    }
}

TEST_P(PoolingOnCuda, Average) {
    Twin x = x_like(1), y = y_like(2), dy = y_like(3);
    QSTEP_ON_BOTH(c, average_pool_forward(c, shape(), y.on(c), x.on(c)));
    y.expect_close(tolerance(), tolerance());
    for (const GradMode mode : test::kGradModes) {
        Twin dx = x_like(4);
        QSTEP_ON_BOTH(c, average_pool_backward(c, shape(), dx.on(c), mode, dy.on(c)));
        dx.expect_close(tolerance(), tolerance());
    }
}

std::vector<Case> all_cases() {
    const PoolShape shapes[] = {
        {16, 8, 8, 64, 8, 8},                       // global
        {2, 8, 8, 520, 8, 8},                       // global, several tiles of channels
        {2, 5, 5, 3, 5, 5},                         // global, channels that fill no vector
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

INSTANTIATE_TEST_SUITE_P(Shapes, PoolingOnCuda, ::testing::ValuesIn(all_cases()));

class PoolingErrorsOnCuda : public test::OnBoth {};

TEST_F(PoolingErrorsOnCuda, WindowThatDoesNotFitThrows) {
    const PoolShape shape{1, 4, 4, 2, 5, 1};
    Twin x(gpu(), DType::f32, {1, 4, 4, 2}), y(gpu(), DType::f32, {1, 1, 1, 2});
    EXPECT_THROW(max_pool_forward(gpu(), shape, y.gpu(), x.gpu()), Error);
    EXPECT_THROW(average_pool_forward(gpu(), shape, y.gpu(), x.gpu()), Error);
}

}  // namespace
}  // namespace qstep

// Elementwise CUDA kernels against the CPU backend, with sizes around those of a vector, a block and the
// kernels' batches, and with addresses that suit no vector.
#include "kernels/activation.h"
#include "kernels/convert.h"
#include "kernels/layout.h"
#include "kernels/sgd.h"
#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

// SGD is three multiply-adds, rounded differently where only one device fuses them; values of a few units.
constexpr double kSgdTolerance = 8 * test::kF32Rounding;
// A product and a sum, fused or not: one rounding of a number of a few units.
constexpr double kFusedTolerance = 8 * test::kF32Rounding;

struct Size {
    std::int64_t count, skipped;
};
constexpr Size kSizes[] = {{1, 0},    {3, 0},    {4, 0},    {7, 0},        {8, 0},    {9, 1},
                           {255, 0},  {1024, 0}, {1029, 1}, {4 * 1024, 0}, {8195, 0}, {4 * 256 * 8 + 1, 0},
                           {70003, 0}};

class Elementwise : public test::OnBoth {
  protected:
    // Calls test(dtype, size) for all of both.
    template <typename Test>
    void for_all(const Test& test) {
        for (const DType dtype : test::kFloatTypes)
            for (const Size& size : kSizes) {
                SCOPED_TRACE(fmt::format("{} x {}, {} skipped", size.count, name_of(dtype), size.skipped));
                test(dtype, size);
            }
    }
    Twin normal(DType dtype, const Size& size, std::uint64_t seed) {
        return Twin(gpu(), dtype, {size.count}, seed, 2.0, 0.0, size.skipped);
    }
    // Puts NaN and infinities in the first elements.
    static void make_special(Twin& twin) {
        constexpr float kValues[] = {NAN, INFINITY, -INFINITY, -0.0f};
        const Tensor tensor = twin.cpu();
        for (std::int64_t i = 0; i < std::min<std::int64_t>(4, tensor.count()); ++i)
            if (tensor.dtype == DType::f32)
                tensor.as<float>()[i] = kValues[i];
            else
                tensor.as<bf16>()[i] = to_bf16(kValues[i]);
        twin.upload();
    }
};

TEST_F(Elementwise, Relu) {
    for_all([&](DType dtype, const Size& size) {
        Twin x = normal(dtype, size, 1), out = normal(dtype, size, 2);
        make_special(x);
        QSTEP_ON_BOTH(c, relu_forward(c, out.on(c), x.on(c)));
        out.expect_same_values();
        QSTEP_ON_BOTH(c, relu_forward(c, x.on(c), x.on(c)));
        x.expect_same_values();
    });
}

TEST_F(Elementwise, ReluBackward) {
    for_all([&](DType dtype, const Size& size) {
        for (const GradMode mode : test::kGradModes) {
            Twin dx = normal(dtype, size, 1), dout = normal(dtype, size, 2), out = normal(dtype, size, 3);
            make_special(out);
            QSTEP_ON_BOTH(c, relu_backward(c, dx.on(c), mode, dout.on(c), out.on(c)));
            dx.expect_same_values();
            if (mode == GradMode::overwrite) {
                QSTEP_ON_BOTH(c, relu_backward(c, dout.on(c), mode, dout.on(c), out.on(c)));
                dout.expect_same_values();
            }
        }
    });
}

TEST_F(Elementwise, Add) {
    for_all([&](DType dtype, const Size& size) {
        Twin a = normal(dtype, size, 1), b = normal(dtype, size, 2), out = normal(dtype, size, 3);
        make_special(a);
        QSTEP_ON_BOTH(c, add_forward(c, out.on(c), a.on(c), b.on(c)));
        out.expect_same_values();
        for (const GradMode mode : test::kGradModes) {
            QSTEP_ON_BOTH(c, add_backward(c, b.on(c), mode, a.on(c)));
            b.expect_same_values();
        }
    });
}

TEST_F(Elementwise, Dropout) {
    constexpr std::int64_t kStep = 7, kSeed = 12345678901234;
    Twin numbers(gpu(), DType::i64, {2});
    numbers.cpu().as<std::int64_t>()[0] = kSeed;
    numbers.cpu().as<std::int64_t>()[1] = kStep;
    numbers.upload();
    const auto key = [&](const Context& c) {
        auto* of = numbers.on(c).as<std::int64_t>();
        return DropoutKey{{of, DType::i64, {1}}, 3, {of + 1, DType::i64, {1}}};
    };
    for_all([&](DType dtype, const Size& size) {
        Twin x = normal(dtype, size, 1), out = normal(dtype, size, 2), dx = normal(dtype, size, 4);
        QSTEP_ON_BOTH(c, dropout_forward(c, out.on(c), x.on(c), 0.3f, key(c)));
        out.expect_same_values();
        for (const GradMode mode : test::kGradModes) {
            QSTEP_ON_BOTH(c, dropout_backward(c, dx.on(c), mode, x.on(c), 0.3f, key(c)));
            dx.expect_close(mode == GradMode::accumulate ? 2 * test::rounding_of(dtype) : 0,
                            mode == GradMode::accumulate ? kFusedTolerance : 0);
        }
    });
}

TEST_F(Elementwise, ConvertRoundsToNearestEven) {
    for (const Size& size : kSizes) {
        Twin wide = normal(DType::f32, size, 1), narrow = normal(DType::bf16, size, 2);
        make_special(wide);
        for (std::int64_t i = 4; i + 1 < size.count; i += 2)  // exact ties
            wide.cpu().as<float>()[i] = 1.0f + static_cast<float>(i % 256 * 2 + 1) * 0x1p-8f;
        wide.upload();
        QSTEP_ON_BOTH(c, convert(c, narrow.on(c), wide.on(c)));
        narrow.expect_same_values();
        Twin back = normal(DType::f32, size, 3), copy = normal(DType::bf16, size, 4);
        QSTEP_ON_BOTH(c, convert(c, back.on(c), narrow.on(c)); convert(c, copy.on(c), narrow.on(c)));
        back.expect_same_values();
        copy.expect_same_values();
    }
}

TEST_F(Elementwise, CopiesAnyType) {
    for (const DType dtype : {DType::u8, DType::i32, DType::i64, DType::f64})
        for (const Size& size : kSizes) {
            Twin from(gpu(), dtype, {size.count}, size.skipped), to(gpu(), dtype, {size.count}, size.skipped);
            auto* bytes = static_cast<std::uint8_t*>(from.cpu().data);
            for (std::size_t i = 0; i < from.cpu().bytes(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 37);
            from.upload();
            QSTEP_ON_BOTH(c, convert(c, to.on(c), from.on(c)));
            to.expect_same_bits();
        }
}

TEST_F(Elementwise, Sgd) {
    for (const Size& size : kSizes)
        for (const bool nesterov : {false, true}) {
            Twin p = normal(DType::f32, size, 1), m = normal(DType::f32, size, 2),
                 g = normal(DType::f32, size, 3), lr(gpu(), DType::f32, {1}, 4, 0.0, 0.1);
            const SgdSettings settings{0.9f, 5e-4f, nesterov};
            for (int i = 0; i < 2; ++i)
                QSTEP_ON_BOTH(c, sgd_update(c, p.on(c), m.on(c), g.on(c), lr.on(c), settings));
            p.expect_close(kSgdTolerance, kSgdTolerance);
            m.expect_close(kSgdTolerance, kSgdTolerance);
        }
}

TEST_F(Elementwise, Layouts) {
    const Shape shapes[] = {{1, 1, 1, 1}, {2, 1, 1, 70}, {3, 4, 4, 64}, {2, 7, 5, 33}, {1, 40, 3, 9}};
    for (const DType dtype : test::kFloatTypes)
        for (const Shape& s : shapes) {
            SCOPED_TRACE(s.to_string());
            Twin nhwc(gpu(), dtype, s, 1, 1.0), nchw(gpu(), dtype, {s[0], s[3], s[1], s[2]}, 2, 1.0);
            QSTEP_ON_BOTH(c, nhwc_to_nchw(c, nchw.on(c), nhwc.on(c)));
            nchw.expect_same_values();
            for (const GradMode mode : test::kGradModes) {
                Twin gradient(gpu(), dtype, s, 3, 1.0);
                QSTEP_ON_BOTH(c, nchw_to_nhwc(c, gradient.on(c), mode, nchw.on(c)));
                gradient.expect_same_values();
            }
        }
}

TEST_F(Elementwise, EmptyTensorsAreNoWork) {
    Twin x(gpu(), DType::f32, {0});
    relu_forward(gpu(), x.gpu(), x.gpu());
    convert(gpu(), x.gpu(), x.gpu());
}

}  // namespace
}  // namespace qstep

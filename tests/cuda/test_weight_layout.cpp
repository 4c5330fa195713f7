#include "kernels/cuda/weight_layout.h"

#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Twin;

struct Filters {
    std::int64_t outputs, inputs, height, width, padded;
};
constexpr Filters kFilters[] = {{16, 3, 3, 3, 3}, {16, 3, 3, 3, 8},    {64, 64, 3, 3, 64}, {5, 7, 1, 1, 7},
                                {1, 1, 1, 1, 1},  {2, 600, 3, 3, 608}, {3, 5, 11, 7, 5},   {2, 10, 2, 5, 40}};

class WeightLayout : public test::OnBoth {
  protected:
    // Calls visit(place in OIHW, or -1 for padding; place in OHWJ).
    template <typename Visit>
    static void for_each(const Filters& f, const Visit& visit) {
        std::int64_t packed = 0;
        for (std::int64_t o = 0; o < f.outputs; ++o)
            for (std::int64_t r = 0; r < f.height; ++r)
                for (std::int64_t s = 0; s < f.width; ++s)
                    for (std::int64_t i = 0; i < f.padded; ++i, ++packed)
                        visit(i < f.inputs ? ((o * f.inputs + i) * f.height + r) * f.width + s : -1, packed);
    }
    static Shape oihw(const Filters& f) { return {f.outputs, f.inputs, f.height, f.width}; }
    static Shape ohwj(const Filters& f) { return {f.outputs, f.height, f.width, f.padded}; }
};

TEST_F(WeightLayout, PackRoundsAndPads) {
    for (const DType dtype : test::kFloatTypes)
        for (const Filters& f : kFilters) {
            SCOPED_TRACE(ohwj(f).to_string());
            Twin from(gpu(), DType::f32, oihw(f), 1, 1.0), to(gpu(), dtype, ohwj(f), 2, 1.0);
            cuda::pack_weights(gpu(), to.gpu(), from.gpu());
            const Doubles got = to.fetch().values(), weights = from.fetch().values();
            for_each(f, [&](std::int64_t at, std::int64_t packed) {
                const double want = at < 0 ? 0 : test::rounded(dtype, weights[static_cast<std::size_t>(at)]);
                ASSERT_EQ(got[static_cast<std::size_t>(packed)], want) << packed;
            });
            to.expect_guards();
        }
}

TEST_F(WeightLayout, UnpackOverwritesOrAccumulates) {
    for (const GradMode mode : test::kGradModes)
        for (const Filters& f : kFilters) {
            SCOPED_TRACE(ohwj(f).to_string());
            Twin from(gpu(), DType::f32, ohwj(f), 1, 1.0), to(gpu(), DType::f32, oihw(f), 2, 1.0);
            const Doubles before = to.fetch().values();
            cuda::unpack_weight_gradient(gpu(), to.gpu(), mode, from.gpu());
            const Doubles got = to.fetch().values(), gradient = from.fetch().values();
            for_each(f, [&](std::int64_t at, std::int64_t packed) {
                if (at < 0) return;
                const double old = before[static_cast<std::size_t>(at)],
                             term = gradient[static_cast<std::size_t>(packed)];
                const double want = mode == GradMode::skip        ? old
                                    : mode == GradMode::overwrite ? term
                                                                  : test::rounded(DType::f32, old + term);
                ASSERT_EQ(got[static_cast<std::size_t>(at)], want) << at;
            });
            to.expect_guards();
        }
}

TEST_F(WeightLayout, ShapesThatDoNotFitThrow) {
    Twin weights(gpu(), DType::f32, {4, 3, 3, 3}), packed(gpu(), DType::f32, {4, 3, 3, 2});
    EXPECT_THROW(cuda::pack_weights(gpu(), packed.gpu(), weights.gpu()), Error);
    EXPECT_THROW(cuda::unpack_weight_gradient(gpu(), weights.gpu(), GradMode::overwrite, packed.gpu()),
                 Error);
}

}  // namespace
}  // namespace qstep

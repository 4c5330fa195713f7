#include "kernels/sgd.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

// torch.optim.SGD's _single_tensor_sgd, transcribed for one parameter, in double; dampening 0.
struct ReferenceSgd {
    double parameter, momentum_buffer = 0;
    bool first = true;

    void step(double gradient, double lr, const SgdSettings& s) {
        const double momentum = s.momentum, decay = s.weight_decay;
        if (decay != 0) gradient += decay * parameter;
        if (momentum != 0) {
            momentum_buffer = first ? gradient : momentum_buffer * momentum + gradient;
            first = false;
            gradient = s.nesterov ? gradient + momentum * momentum_buffer : momentum_buffer;
        }
        parameter -= lr * gradient;
    }
};

// Five steps of at most six float32 roundings of numbers up to about 8.
constexpr double kTolerance = 5 * 6 * 8 * test::kF32Rounding;
constexpr int kSteps = 5;

TEST(Sgd, FollowsPyTorch) {
    const SgdSettings settings[] = {{0.9f, 1e-4f, false},
                                    {0.9f, 1e-4f, true},
                                    {0.0f, 0.0f, false},
                                    {0.5f, 0.0f, true},
                                    {0.0f, 0.1f, false}};
    for (const SgdSettings& s : settings)
        for (const std::int64_t count : {1, 17, 20003})
            for (const int threads : {1, 2}) {
                Context context(Device{}, threads);
                const Owned parameters(DType::f32, {count}, 1), momentum(DType::f32, {count}, 2, 0.0);
                std::vector<ReferenceSgd> references;
                for (const double value : parameters.values()) references.push_back({value});
                for (int step = 0; step < kSteps; ++step) {
                    const Owned gradient(DType::f32, {count}, 10 + static_cast<std::uint64_t>(step));
                    float lr = 0.1f / static_cast<float>(step + 1);
                    const Doubles g = gradient.values();
                    for (std::size_t i = 0; i < g.size(); ++i)
                        references[i].step(g[i], static_cast<double>(lr), s);
                    sgd_update(context, parameters, momentum, gradient, {&lr, DType::f32, {1}}, s);
                }
                Doubles want;
                for (const ReferenceSgd& reference : references) want.push_back(reference.parameter);
                test::expect_close(parameters.values(), want, 0, kTolerance);
                EXPECT_TRUE(parameters.guard_intact());
                EXPECT_TRUE(momentum.guard_intact());
            }
}

TEST(Sgd, DoesNotDependOnTheThreadCount) {
    constexpr std::int64_t kCount = 30001;
    const Owned gradient(DType::f32, {kCount}, 3);
    const Owned p1(DType::f32, {kCount}, 1), m1(DType::f32, {kCount}, 2);
    const Owned p2(DType::f32, {kCount}, 1), m2(DType::f32, {kCount}, 2);
    float lr = 0.1f;
    Context serial(Device{}, 1), parallel(Device{}, 2);
    sgd_update(serial, p1, m1, gradient, {&lr, DType::f32, {1}}, {});
    sgd_update(parallel, p2, m2, gradient, {&lr, DType::f32, {1}}, {});
    EXPECT_TRUE(p1.same_bits(p2));
    EXPECT_TRUE(m1.same_bits(m2));
}

TEST(Sgd, WrongShapesThrow) {
    Context context(Device{}, 1);
    const Owned four(DType::f32, {4}, 1), three(DType::f32, {3}, 1);
    float lr = 0.1f;
    EXPECT_THROW(sgd_update(context, four, three, four, {&lr, DType::f32, {1}}, {}), Error);
    EXPECT_THROW(sgd_update(context, four, four, three, {&lr, DType::f32, {1}}, {}), Error);
}

}  // namespace
}  // namespace qstep

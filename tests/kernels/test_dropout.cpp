#include "kernels/activation.h"
#include "tests/kernels/compare.h"

namespace qstep {
namespace {

using test::Doubles;
using test::Owned;

class Dropout : public ::testing::TestWithParam<DType> {
  protected:
    DType dtype() const { return GetParam(); }
    DropoutKey key(std::uint64_t seed = 1, std::uint32_t layer = 0, std::int64_t step = 5) {
        seed_ = static_cast<std::int64_t>(seed);
        step_ = step;
        return {{&seed_, DType::i64, {1}}, layer, {&step_, DType::i64, {1}}};
    }
    Owned ones(std::int64_t count) const {
        Owned result(dtype(), {count});
        result.set(Doubles(static_cast<std::size_t>(count), 1.0));
        return result;
    }
    Context context_{Device{}, 2};
    std::int64_t seed_ = 0, step_ = 0;
};

TEST_P(Dropout, FollowsTheRandomStreamElementByElement) {
    constexpr std::uint64_t kSeed = 42;
    constexpr std::uint32_t kLayer = 3, kStep = 7;
    const RandomStream stream{kSeed + (std::uint64_t{kLayer} << 32), Purpose::dropout, kStep};
    for (const float probability : {0.0f, 0.3f, 0.5f, 0.99f})
        for (const std::int64_t count : {1, 63, 64, 65, 20011}) {
            const Owned x(dtype(), {count}, 1), out(dtype(), {count});
            dropout_forward(context_, out, x, probability, key(kSeed, kLayer, kStep));
            Doubles want = x.values();
            const float scale = 1.0f / (1.0f - probability);
            for (std::size_t i = 0; i < want.size(); ++i)
                want[i] =
                    stream.uniform(i) >= probability
                        ? test::rounded(dtype(), static_cast<double>(static_cast<float>(want[i]) * scale))
                        : 0.0;
            test::expect_same(out.values(), want);
            EXPECT_TRUE(out.guard_intact());
            dropout_forward(context_, x, x, probability, key(kSeed, kLayer, kStep));
            EXPECT_TRUE(x.same_bits(out));
        }
}

TEST_P(Dropout, KeepsTheStatedShare) {
    constexpr std::int64_t kCount = 1 << 18;
    constexpr double kSigmas = 5;  // a right mask fails one time in two million; the seed is fixed besides
    for (const float probability : {0.1f, 0.5f, 0.8f}) {
        const Owned x = ones(kCount), out(dtype(), {kCount});
        dropout_forward(context_, out, x, probability, key());
        double kept = 0;
        for (const double value : out.values()) kept += value != 0;
        const double share = 1 - static_cast<double>(probability);
        const double deviation = std::sqrt(kCount * share * (1 - share));
        EXPECT_NEAR(kept, kCount * share, kSigmas * deviation);
    }
}

TEST_P(Dropout, BackwardDrawsTheSameMask) {
    constexpr std::int64_t kCount = 10007;
    constexpr float kProbability = 0.5f;
    for (const GradMode mode : test::kGradModes) {
        const Owned x = ones(kCount), out(dtype(), {kCount}), dout(dtype(), {kCount}, 2),
                    dx(dtype(), {kCount}, 3);
        dropout_forward(context_, out, x, kProbability, key());
        const Doubles factor = out.values(), gradient = dout.values();
        Doubles want = dx.values();
        for (std::size_t i = 0; i < want.size(); ++i) {
            const double passed = factor[i] * gradient[i];  // the factor is 0 or 2: exact
            if (mode == GradMode::overwrite) want[i] = passed;
            if (mode == GradMode::accumulate)
                want[i] = test::rounded(
                    dtype(), static_cast<double>(static_cast<float>(want[i]) + static_cast<float>(passed)));
        }
        dropout_backward(context_, dx, mode, dout, kProbability, key());
        test::expect_same(dx.values(), want);
    }
}

TEST_P(Dropout, MaskHangsOnSeedLayerAndStepAlone) {
    constexpr std::int64_t kCount = 20000;
    const Owned x = ones(kCount), first(dtype(), {kCount}), other(dtype(), {kCount});
    dropout_forward(context_, first, x, 0.5f, key(1, 2, 3));
    Context serial(Device{}, 1);
    dropout_forward(serial, other, x, 0.5f, key(1, 2, 3));
    EXPECT_TRUE(other.same_bits(first));
    const auto is_another = [&](const DropoutKey& changed) {
        dropout_forward(context_, other, x, 0.5f, changed);
        EXPECT_FALSE(other.same_bits(first));
    };
    is_another(key(2, 2, 3));
    is_another(key(1, 3, 3));
    is_another(key(1, 2, 4));
}

TEST_P(Dropout, ImpossibleProbabilityThrows) {
    const Owned x(dtype(), {4}, 1);
    EXPECT_THROW(dropout_forward(context_, x, x, 1.0f, key()), Error);
    EXPECT_THROW(dropout_forward(context_, x, x, -0.1f, key()), Error);
    EXPECT_THROW(dropout_backward(context_, x, GradMode::overwrite, x, std::nanf(""), key()), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, Dropout, ::testing::ValuesIn(test::kFloatTypes),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace qstep

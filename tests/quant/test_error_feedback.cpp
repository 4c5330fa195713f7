// The loop of error feedback around every codec, and what follows from it.
#include "quant/error_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/error.h"
#include "stream_runner.h"

namespace qstep::test {
namespace {

CodecSettings with_feedback(CodecSettings settings, double alpha = 1.0, double beta = 1.0) {
    settings.error_feedback = true;
    settings.ef_alpha = alpha;
    settings.ef_beta = beta;
    return settings;
}

/// A codec with error feedback and its residual, over many steps.
class Loop {
  public:
    Loop(const CodecSettings& settings, std::size_t count)
        : residual(count, 0.0f),
          codec_(make_codec(context_, settings, static_cast<std::int64_t>(count))),
          out_(count) {
        context_.workspace().freeze();
        codec_->set_residual(tensor(residual));
    }
    /// The quantized gradient of the next step.
    const std::vector<float>& step(std::vector<float> gradient) {
        codec_->quantize(context_, tensor(out_), tensor(gradient), {&number_, DType::i64, {1}},
                         {&variance, DType::f64, {1}});
        ++number_;
        return out_;
    }

    std::vector<float> residual;
    double variance = -1;

  private:
    static Tensor tensor(std::vector<float>& x) {
        return {x.data(), DType::f32, {static_cast<std::int64_t>(x.size())}};
    }
    Context context_{Device{}, 2};
    std::unique_ptr<GradientCodec> codec_;
    std::vector<float> out_;
    std::int64_t number_ = 0;
};

double norm(const std::vector<float>& x) {
    double sum = 0;
    for (const float value : x) sum += static_cast<double>(value) * value;
    return std::sqrt(sum);
}

TEST(ErrorFeedback, AlphaZeroIsTheCodecAlone) {
    for (const Codec& kind : kLossyCodecs) {
        const CodecSettings plain = settings_of(kind, 512, 4);
        Loop loop(with_feedback(plain, 0.0, 0.5), 1100);
        for (std::int64_t step = 0; step < 5; ++step) {
            const auto g = gradient_like(1100, static_cast<std::uint64_t>(step + 1));
            const auto q = loop.step(g);
            const Result alone = run(plain, g, step);
            ASSERT_TRUE(same_bits(q, alone.values)) << name_of(kind) << " " << step;
            ASSERT_EQ(loop.variance, alone.variance);
        }
    }
}

TEST(ErrorFeedback, IsTheFormulaAroundEveryCodec) {
    for (const Codec& kind : kLossyCodecs)
        for (const std::size_t n : {1, 3, 64, 513, 20001})
            for (const auto& [alpha, beta] : {std::pair{1.0, 1.0}, {0.25, 0.875}, {0.3, 0.9}}) {
                const CodecSettings plain = settings_of(kind, 512, 8);
                Loop loop(with_feedback(plain, alpha, beta), n);
                std::vector<float> h(n, 0.0f);
                for (std::int64_t step = 0; step < 4; ++step) {
                    const auto g =
                        gradient_like(static_cast<std::int64_t>(n), static_cast<std::uint64_t>(step));
                    std::vector<float> v(n);
                    for (std::size_t i = 0; i < n; ++i) {
                        const float joined = static_cast<float>(alpha) * h[i];
                        v[i] = g[i] + joined;
                    }
                    const Result wanted = run(plain, v, step);
                    for (std::size_t i = 0; i < n; ++i) {
                        const float kept = static_cast<float>(beta) * h[i], lost = g[i] - wanted.values[i];
                        h[i] = kept + lost;
                    }
                    ASSERT_TRUE(same_bits(loop.step(g), wanted.values)) << name_of(kind) << " " << n;
                    ASSERT_TRUE(same_bits(loop.residual, h)) << name_of(kind) << " " << n;
                    ASSERT_EQ(loop.variance, wanted.variance);
                }
            }
}

// alpha = beta = 1: whatever was not applied yet lies in the residual.
TEST(ErrorFeedback, NothingIsLost) {
    constexpr int kSteps = 200;
    for (const Codec& kind : kLossyCodecs)
        for (const bool constant : {true, false}) {
            Loop loop(with_feedback(settings_of(kind, 64, 16)), 200);
            std::vector<double> given(200, 0), applied(200, 0), largest(200, 0);
            for (int step = 0; step < kSteps; ++step) {
                const auto g = gradient_like(200, constant ? 1 : static_cast<std::uint64_t>(step));
                const auto& q = loop.step(g);
                for (std::size_t i = 0; i < g.size(); ++i) {
                    given[i] += g[i];
                    applied[i] += q[i];
                    for (const float value : {g[i], q[i], loop.residual[i]})
                        largest[i] = std::max(largest[i], std::fabs(static_cast<double>(value)));
                }
            }
            // A step rounds g - q and the residual's sum, each by half a unit of at most twice the largest.
            constexpr double kRounding = 2 * 2 * 0x1p-24;
            for (std::size_t i = 0; i < given.size(); ++i)
                ASSERT_NEAR(applied[i] + loop.residual[i], given[i], kSteps * kRounding * largest[i])
                    << name_of(kind) << " " << i;
        }
}

// ||h||, in the mean over the draws, is at most sqrt(gamma) ||g|| / (1 - sqrt(alpha^2 gamma + (beta -
// alpha)^2)).
TEST(ErrorFeedback, ResidualIsBoundedWhereTheConditionHolds) {
    const std::int64_t n = 4096;
    const auto g = gradient_like(n);
    // Two levels: gamma is above 1, so plain error feedback runs away.
    const CodecSettings coarse = settings_of(CodecKind::standard, 512, 2);
    const auto run_loop = [&](double alpha, double beta, double& gamma) {
        Loop loop(with_feedback(coarse, alpha, beta), static_cast<std::size_t>(n));
        for (int step = 0; step < 400 && norm(loop.residual) < 1e6 * norm(g); ++step) {
            std::vector<float> v = g;
            for (std::size_t i = 0; i < v.size(); ++i) v[i] += static_cast<float>(alpha) * loop.residual[i];
            loop.step(g);
            gamma = std::max(gamma, loop.variance / (norm(v) * norm(v)));
        }
        return norm(loop.residual);
    };
    double gamma = 0;
    const double bounded = run_loop(0.05, 1.0, gamma);
    const double rate = 0.05 * 0.05 * gamma + 0.95 * 0.95;
    EXPECT_GT(gamma, 1.0);
    ASSERT_LT(rate, 1.0);
    // One draw strays little from the mean over 4096 elements.
    EXPECT_LT(bounded, 1.2 * std::sqrt(gamma) * norm(g) / (1 - std::sqrt(rate)));
    EXPECT_GT(run_loop(1.0, 1.0, gamma), 1e6 * norm(g));
}

TEST(ErrorFeedback, AGradientThatIsNotFiniteIsReportedAndSpoilsItsBucketAlone) {
    for (const Codec& kind : kLossyCodecs)
        for (const float bad : {std::numeric_limits<float>::infinity(),
                                std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max()}) {
            Loop loop(with_feedback(settings_of(kind, 100)), 300);
            auto g = gradient_like(300);
            loop.step(g);
            EXPECT_TRUE(std::isfinite(loop.variance));
            g[150] = bad;
            // With the largest float in the residual too, it is their sum that is not finite.
            if (std::isfinite(bad)) loop.residual[150] = bad;
            loop.step(g);
            EXPECT_TRUE(std::isnan(loop.variance)) << name_of(kind) << " " << bad;
            for (std::size_t i = 0; i < 300; ++i)
                ASSERT_EQ(std::isfinite(loop.residual[i]), i / 100 != 1) << name_of(kind) << " " << i;
        }
}

TEST(ErrorFeedback, EncodesWhatItQuantizesTo) {
    const std::int64_t n = 1100;
    for (const Codec& kind : kLossyCodecs) {
        const CodecSettings settings = with_feedback(settings_of(kind, 200, 4), 0.5, 0.75);
        Loop loop(settings, static_cast<std::size_t>(n));
        Context context(Device{}, 2);
        const auto codec = make_codec(context, settings, n);
        context.workspace().freeze();
        std::vector<float> residual(static_cast<std::size_t>(n), 0.0f), buffer = residual, out = residual;
        const auto tensor = [](std::vector<float>& x) {
            return Tensor{x.data(), DType::f32, {static_cast<std::int64_t>(x.size())}};
        };
        codec->set_residual(tensor(residual), tensor(buffer));
        AlignedBytes stream(codec->stream_bytes());
        for (std::int64_t step = 0; step < 3; ++step) {
            auto g = gradient_like(n, static_cast<std::uint64_t>(step + 1));
            double variance = -1;
            codec->encode(context, stream.tensor(), tensor(g), {&step, DType::i64, {1}},
                          {&variance, DType::f64, {1}});
            codec->decode(context, tensor(out), stream.tensor());
            ASSERT_TRUE(same_bits(loop.step(g), out)) << name_of(kind);
            ASSERT_TRUE(same_bits(loop.residual, residual)) << name_of(kind);
            ASSERT_EQ(loop.variance, variance);
        }
    }
}

TEST(ErrorFeedback, NeedsAResidualAndTheGradientApart) {
    Context context(Device{}, 1);
    const auto codec = make_codec(context, with_feedback(settings_of(CodecKind::standard)), 8);
    const auto bare = make_codec(context, settings_of(CodecKind::standard), 8);
    context.workspace().freeze();
    std::vector<float> memory(24);
    std::int64_t step = 0;
    double variance = 0;
    const auto part = [&](std::int64_t at, std::int64_t n = 8) {
        return Tensor{memory.data() + at, DType::f32, {n}};
    };
    const auto quantize = [&](const Tensor& out) {
        codec->quantize(context, out, part(0), {&step, DType::i64, {1}}, {&variance, DType::f64, {1}});
    };
    EXPECT_THROW(quantize(part(8)), Error);
    EXPECT_THROW(codec->set_residual(part(16, 7)), Error);
    EXPECT_THROW(bare->set_residual(part(16)), Error);
    codec->set_residual(part(16));
    quantize(part(8));
    EXPECT_THROW(quantize(part(0)), Error);
    EXPECT_THROW(quantize(part(4)), Error);
}

}  // namespace
}  // namespace qstep::test

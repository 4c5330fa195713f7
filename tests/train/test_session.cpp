#include "train/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/synthetic.h"
#include "engine/error.h"
#include "train/feed.h"
#include "train/safetensors.h"

namespace qstep {
namespace {

SessionSettings small_settings() {
    SessionSettings settings;
    settings.model = "resnet_8";
    settings.codec.kind = CodecKind::standard;
    settings.train_batch = settings.test_batch = 8;
    settings.train_count = settings.test_count = 20;
    return settings;
}

TEST(Session, TheQuantizedGradientIsWhatMomentumTakes) {
    const DataSplits data = make_synthetic(20, 20);
    SessionSettings settings = small_settings();
    settings.sgd = {0.9f, 0.0f, false};
    Context context({}, 2);
    Session session(context, settings);
    BatchLoader loader(data.train, {8, 0, DType::f32, true});
    loader.start(0);
    session.train(*loader.next(), 0, 0.1f);
    const Tensor applied = session.optimizer().applied_gradient(session.parameters());
    // Momentum starts at zero and there is no weight decay.
    EXPECT_TRUE(std::ranges::equal(session.parameters().momentum().span<float>(), applied.span<float>()));
    EXPECT_FALSE(std::ranges::equal(session.parameters().gradients().span<float>(), applied.span<float>()));
    EXPECT_GT(session.variance(), 0.0);
    EXPECT_EQ(session.non_finite_gradient(), "");
}

TEST(Session, ErrorFeedbackKeepsWhatRoundingTook) {
    const DataSplits data = make_synthetic(20, 20);
    SessionSettings settings = small_settings();
    EXPECT_FALSE([&] {
        Context context({}, 2);
        return bool(Session(context, settings).parameters().residual());
    }());
    settings.codec.error_feedback = true;
    Context context({}, 2);
    Session session(context, settings);
    const auto residual = session.parameters().residual().span<float>();
    EXPECT_TRUE(std::ranges::all_of(residual, [](float h) { return h == 0.0f; }));
    BatchLoader loader(data.train, {8, 0, DType::f32, true});
    loader.start(0);
    std::vector<float> before(residual.size(), 0.0f);
    for (std::int64_t step = 0; step < 2; ++step) {
        session.train(*loader.next(), step, 0.1f);
        const auto g = session.parameters().gradients().span<float>();
        const auto q = session.optimizer().applied_gradient(session.parameters()).span<float>();
        for (std::size_t i = 0; i < residual.size(); ++i) ASSERT_EQ(residual[i], before[i] + (g[i] - q[i]));
        before.assign(residual.begin(), residual.end());
    }
    EXPECT_EQ(session.non_finite_state(), "");
    residual[5] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(session.non_finite_state(), "the residual of conv1.weight");
}

// Gradient and loss are finite, their sum with the residual is not.
TEST(Session, AResidualThatOverflowsIsAFault) {
    const DataSplits data = make_synthetic(20, 20);
    for (const bool resident : {false, true}) {
        SessionSettings settings = small_settings();
        settings.codec.error_feedback = true;
        if (resident) settings.resident = &data;
        Context context({}, 2);
        Session session(context, settings);
        const auto feed = make_feed(session, data);
        feed->start_epoch({0, 0, {0.1f, 0.1f, 0.1f}, {}});
        session.parameters().residual().span<float>()[7] = std::numeric_limits<float>::infinity();
        // The first of two is told.
        for (int step = 0; step < 2; ++step) feed->train(1);
        const auto fault = feed->look().fault;
        ASSERT_TRUE(fault);
        EXPECT_EQ(fault->step, 0);
        EXPECT_EQ(fault->parameter, "");
        EXPECT_TRUE(std::isfinite(fault->loss));
    }
}

TEST(Session, WithoutQuantizationTheGradientItself) {
    SessionSettings settings = small_settings();
    settings.codec.kind = CodecKind::none;
    Context context({}, 2);
    Session session(context, settings);
    EXPECT_EQ(session.optimizer().applied_gradient(session.parameters()).data,
              session.parameters().gradients().data);
    EXPECT_EQ(session.variance(), 0.0);
}

TEST(Session, NamesTheParameterWhoseGradientIsNotFinite) {
    const DataSplits data = make_synthetic(20, 20);
    for (const CodecKind kind : {CodecKind::none, CodecKind::standard}) {
        SessionSettings settings = small_settings();
        settings.codec.kind = kind;
        Context context({}, 2);
        Session session(context, settings);
        // An infinite bias makes the loss and the gradients NaN; the first parameter is named.
        session.parameters().parameters().back().value.as<float>()[0] =
            std::numeric_limits<float>::infinity();
        BatchLoader loader(data.train, {8, 0, DType::f32, true});
        loader.start(0);
        session.train(*loader.next(), 0, 0.1f);
        EXPECT_EQ(session.non_finite_gradient(), "conv1.weight");
    }
}

TEST(Session, NamesTheParameterWhereDataAreResident) {
    const DataSplits data = make_synthetic(20, 20);
    SessionSettings settings = small_settings();
    settings.resident = &data;
    Context context({}, 2);
    Session session(context, settings);
    session.parameters().parameters().back().value.as<float>()[0] = std::numeric_limits<float>::infinity();
    const auto feed = make_feed(session, data);
    feed->start_epoch({0, 0, {0.1f, 0.1f, 0.1f}, {}});
    feed->train(1);
    const auto fault = feed->look().fault;
    ASSERT_TRUE(fault);
    EXPECT_EQ(fault->parameter, "conv1.weight");
    EXPECT_FALSE(std::isfinite(fault->loss));
}

// A session that only trains or only evaluates keeps no other images.
TEST(Session, ResidentDataForOneJobAlone) {
    const DataSplits data = make_synthetic(20, 20);
    for (const bool trains : {false, true}) {
        SessionSettings settings = small_settings();
        settings.resident = &data;
        (trains ? settings.test_batch : settings.train_batch) = 0;
        Context context({}, 2);
        Session session(context, settings);
        const auto feed = make_feed(session, data);
        if (trains) {
            feed->start_epoch({0, 0, {0.1f, 0.1f, 0.1f}, {}});
            EXPECT_EQ(feed->train(2), 2);
            EXPECT_GT(feed->look().sums.loss, 0.0);
        } else {
            feed->start_evaluation();
            EXPECT_EQ(feed->evaluate_next(), 8);
            EXPECT_GT(session.evaluation_sums().loss, 0.0);
        }
    }
}

TEST(Session, WholeAndPartialBatchesShareParametersAndSums) {
    const DataSplits data = make_synthetic(20, 20);
    Context context({}, 2);
    Session session(context, small_settings());
    BatchLoader loader(data.train, {8, 0, DType::f32, true});
    loader.start(0);
    std::int64_t images = 0;
    double loss = 0.0;
    std::vector<std::int64_t> sizes;
    for (std::int64_t step = 0; const auto batch = loader.next(); ++step) {
        session.train(*batch, step, 0.01f);
        images += batch->size();
        loss += session.loss() * static_cast<double>(batch->size());
        sizes.push_back(batch->size());
    }
    EXPECT_EQ(sizes, (std::vector<std::int64_t>{8, 8, 4}));
    // The mean of a batch is a float.
    constexpr double kFloatRounding = 1e-6;
    EXPECT_NEAR(session.training_sums().loss, loss, kFloatRounding * loss);
    EXPECT_GE(session.training_sums().right, 0.0);
    EXPECT_LE(session.training_sums().right, static_cast<double>(images));
    EXPECT_THROW(session.training_network(7), Error);
}

// Evaluation must neither depend on how the images are batched nor change the model.
TEST(Session, EvaluationLeavesTheModelAlone) {
    const DataSplits data = make_synthetic(20, 20);
    std::vector<Sums> results;
    for (const std::int64_t batch : {8, 20, 3, 50}) {
        SessionSettings settings = small_settings();
        settings.test_batch = batch;
        Context context({}, 2);
        Session session(context, settings);
        const auto values = session.parameters().values().span<float>();
        const std::vector<float> before(values.begin(), values.end());
        BatchLoader loader(data.test, {batch, 0, DType::f32, false});
        loader.start(0);
        while (const auto images = loader.next()) session.evaluate(*images);
        EXPECT_TRUE(std::ranges::equal(values, before));
        results.push_back(session.evaluation_sums());
    }
    constexpr double kFloatRounding = 1e-5;
    for (const Sums& sums : results) {
        EXPECT_NEAR(sums.loss, results[0].loss, kFloatRounding * results[0].loss);
        EXPECT_EQ(sums.right, results[0].right);
    }
}

// What a run is fed from changes nothing: on the CPU both ways give the same bits.
TEST(Session, ResidentDataGiveTheSameRun) {
    const DataSplits data = make_synthetic(20, 20);
    std::vector<std::vector<float>> results;
    for (const bool resident : {false, true}) {
        SessionSettings settings = small_settings();
        settings.seed = 4;
        if (resident) settings.resident = &data;
        Context context({}, 2);
        Session session(context, settings);
        const auto feed = make_feed(session, data);
        EXPECT_EQ(feed->runs_ahead(), resident);
        EpochSums sums;
        for (const auto& [epoch, batch] : {std::pair{0, 0}, {1, 0}, {3, 1}}) {
            feed->start_epoch({epoch, batch, {0.1f, 0.05f, 0.02f}, sums});
            for (std::int64_t left = 3 - batch; left > 0;) left -= feed->train(left);
            sums = feed->look().sums;
            EXPECT_FALSE(feed->look().fault);
            EXPECT_EQ(session.last_batch_size(), 4);
        }
        std::int64_t images = 0;
        feed->start_evaluation();
        while (const std::int64_t size = feed->evaluate_next()) images += size;
        EXPECT_EQ(images, 20);
        const auto values = session.parameters().values().span<float>();
        auto& result = results.emplace_back(values.begin(), values.end());
        const Sums test = session.evaluation_sums();
        for (const double sum : {sums.loss, sums.right, sums.variance, test.loss, test.right})
            result.push_back(static_cast<float>(sum));
    }
    EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace qstep

// How far a run lets its steps run ahead of the host, with resident data on the CPU.
#include "train/trainer.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "data/synthetic.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

// 130 steps an epoch.
constexpr std::int64_t kImages = 130;

/// Another feed's, counting; SIGTERM comes while step `at` or one of those begun with it runs (0: never).
class CountingFeed : public Feed {
  public:
    CountingFeed(std::unique_ptr<Feed> feed, int& looks, std::int64_t at)
        : feed_(std::move(feed)), looks_(looks), left_(at) {}

    void start_epoch(const EpochStart& start) override { feed_->start_epoch(start); }
    std::int64_t train(std::int64_t most) override {
        const std::int64_t steps = feed_->train(most);
        if (left_ > 0 && left_ <= steps) raise(SIGTERM);
        left_ -= steps;
        return steps;
    }
    bool runs_ahead() const override { return feed_->runs_ahead(); }
    Look look() override {
        ++looks_;
        return feed_->look();
    }
    void start_evaluation() override { feed_->start_evaluation(); }
    std::int64_t evaluate_next() override { return feed_->evaluate_next(); }

  private:
    std::unique_ptr<Feed> feed_;
    int& looks_;
    std::int64_t left_;
};

struct Course {
    int looks = 0;
    RunEnd end = RunEnd::finished;
    std::int64_t steps = 0;
    std::string checkpoint;
};

Course train(Options options, bool resident, std::int64_t signal_at = 0) {
    const TemporaryFolder folder;
    const DataSplits data = make_synthetic(kImages, 20);
    options.model = "simple";
    options.codec.kind = CodecKind::standard;
    options.epochs = 1;
    options.batch_size = 1;
    options.lr = 1e-3;
    options.device = "cpu";
    options.threads = 2;
    SessionSettings settings = session_settings(options, data);
    if (resident) settings.resident = &data;
    Context context({}, 2);
    Session session(context, settings);
    Course course;
    auto feed = std::make_unique<CountingFeed>(make_feed(session, data), course.looks, signal_at);
    const StopSignals signals;
    testing::internal::CaptureStdout();
    const RunFolder run = make_run_folder((folder.path() / "run").string(), "");
    Trainer trainer(session, std::move(feed), data, options, run, {});
    course.end = trainer.run(signals);
    testing::internal::GetCapturedStdout();
    course.steps = trainer.progress().step;
    course.checkpoint = read_bytes(run.checkpoint());
    return course;
}

TEST(Trainer, LooksOnceInAHundredStepsThatRunAhead) {
    Options options;
    options.log_interval = 1000;
    const Course ahead = train(options, true), beside = train(options, false);
    EXPECT_EQ(ahead.looks, 2);
    EXPECT_EQ(beside.looks, kImages);
    EXPECT_EQ(ahead.steps, kImages);
    EXPECT_TRUE(ahead.checkpoint == beside.checkpoint);
}

TEST(Trainer, LooksWhereThereIsSomethingToTell) {
    Options options;
    options.log_interval = 50;
    // A line after steps 50 and 100; histograms after each 20.
    EXPECT_EQ(train(options, true).looks, 3);
    options.tensorboard = true;
    options.histogram_interval = 20;
    EXPECT_EQ(train(options, true).looks, 8);
}

// Ten steps are begun at once.
TEST(Trainer, ObeysASignalBehindTheStepsBegun) {
    Options options;
    options.log_interval = 1000;
    const Course stopped = train(options, true, 13);
    EXPECT_EQ(stopped.end, RunEnd::stopped_by_signal);
    EXPECT_EQ(stopped.steps, 20);
    EXPECT_EQ(stopped.looks, 1);
}

}  // namespace
}  // namespace qstep

// A signal in the moments that no other program can aim at: while a run evaluates, and behind its last step.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "data/source.h"
#include "tests/data/data_fixture.h"
#include "tests/faults/failing_calls.h"
#include "train/checkpoint.h"
#include "train/jobs.h"
#include "train/trainer.h"

namespace qstep {
namespace {

// Of the files of write_cifar_files: 15 training images in batches of 4, 6 test images in batches of 2.
constexpr std::int64_t kStepsPerEpoch = 4;
constexpr int kEvaluations = 3;

/// Another feed's, but for a SIGINT before the test images numbered `at` of its evaluate_next() are taken.
class InterruptedFeed : public Feed {
  public:
    InterruptedFeed(std::unique_ptr<Feed> feed, int at) : feed_(std::move(feed)), left_(at) {}

    void start_epoch(const EpochStart& start) override { feed_->start_epoch(start); }
    std::int64_t train(std::int64_t most) override { return feed_->train(most); }
    bool runs_ahead() const override { return feed_->runs_ahead(); }
    Look look() override { return feed_->look(); }
    void start_evaluation() override { feed_->start_evaluation(); }
    std::int64_t evaluate_next() override {
        if (left_-- == 0) raise(SIGINT);
        return feed_->evaluate_next();
    }

  private:
    std::unique_ptr<Feed> feed_;
    int left_;
};

class StoppedRuns : public testing::Test {
  protected:
    StoppedRuns() { write_cifar_files(folder_.path() / "cifar"); }

    std::string in(const std::string& name) const { return (folder_.path() / name).string(); }
    std::vector<std::string> training(const std::string& output, int epochs) const {
        return {"--data",
                in("cifar"),
                "--model",
                "simple",
                "--quant",
                "standard",
                "--device",
                "cpu",
                "--threads",
                "2",
                "--lr",
                "0.01",
                "--epochs",
                std::to_string(epochs),
                "--batch-size",
                "4",
                "--test-batch-size",
                "2",
                "--output",
                in(output)};
    }
    struct Ended {
        int status = 0;
        std::string out;
        bool says(const std::string& part) const { return out.find(part) != std::string::npos; }
    };
    Ended run(std::vector<std::string> arguments, const std::vector<std::string>& more = {}) const {
        arguments.insert(arguments.end(), more.begin(), more.end());
        testing::internal::CaptureStdout();
        const int status = run_job(parse_command_line(arguments), "cifar_train");
        return {status, testing::internal::GetCapturedStdout()};
    }
    std::string checkpoint(const std::string& output) const { return in(output + "/checkpoint.safetensors"); }
    /// A training run as run_job() makes it, but that evaluates from an InterruptedFeed.
    RunEnd run_interrupted(const std::string& output, int epochs, int at) const {
        Options options = parse_command_line(training(output, epochs)).options;
        DataSource source = open_data(options.data);
        options.data = source.name;
        Context context(parse_device(options.device), static_cast<int>(options.threads));
        Session session(context, session_settings(options, source.splits));
        const StopSignals signals;
        auto feed = std::make_unique<InterruptedFeed>(make_feed(session, source.splits), at);
        Trainer trainer(session, std::move(feed), source.splits, options, make_run_folder(options.output, ""),
                        {});
        testing::internal::CaptureStdout();
        const RunEnd end = trainer.run(signals);
        testing::internal::GetCapturedStdout();
        EXPECT_EQ(signals.received(), SIGINT);
        return end;
    }

    TemporaryFolder folder_;
};

// The checkpoint holds all steps of the epoch; what is left of it is its evaluation.
TEST_F(StoppedRuns, InAnEvaluationGoOnWithIt) {
    run(training("whole", 2));
    for (int at = 0; at < kEvaluations; ++at) {
        const std::string output = "at" + std::to_string(at);
        ASSERT_EQ(run_interrupted(output, 2, at), RunEnd::stopped_by_signal);
        const Progress progress = Checkpoint(checkpoint(output)).progress();
        EXPECT_EQ(progress.epoch, 0);
        EXPECT_EQ(progress.batch, kStepsPerEpoch);
        EXPECT_FALSE(progress.last);
        EXPECT_FALSE(std::filesystem::exists(in(output + "/metrics.csv")));
        EXPECT_EQ(run({"--resume", checkpoint(output)}).status, 0);
        EXPECT_TRUE(read_bytes(checkpoint(output)) == read_bytes(checkpoint("whole"))) << at;
    }
    // Behind the last images the epoch is complete.
    ASSERT_EQ(run_interrupted("behind", 2, kEvaluations), RunEnd::stopped_by_signal);
    EXPECT_EQ(Checkpoint(checkpoint("behind")).progress().epoch, 1);
}

// No step is left to this process, so it has no speed and no gradient to show.
TEST_F(StoppedRuns, InTheLastEvaluationOnlyEvaluate) {
    run(training("whole", 1));
    for (const bool limited : {false, true}) {
        const std::string output = limited ? "limited" : "parts";
        ASSERT_EQ(run_interrupted(output, 1, 1), RunEnd::stopped_by_signal);
        std::vector<std::string> limit;
        if (limited) limit = {"--max-steps", std::to_string(kStepsPerEpoch)};
        const Ended ended = run({"--resume", checkpoint(output)}, limit);
        EXPECT_EQ(ended.status, 0);
        EXPECT_TRUE(ended.says("test, epoch 1 ")) << ended.out;
        EXPECT_TRUE(read_bytes(checkpoint(output)) == read_bytes(checkpoint("whole")));
        const auto rows = read_metrics(in(output + "/metrics.csv"));
        ASSERT_EQ(rows.size(), 1u);
        EXPECT_EQ(rows[0].images_per_second, 0.0);
        const std::string gradient = "Gradient before and after quantization";
        EXPECT_EQ(read_bytes(in(output + "/report.html")).find(gradient), std::string::npos);
        EXPECT_NE(read_bytes(in("whole/report.html")).find(gradient), std::string::npos);
    }
}

// Files are put in place in this order: configuration, metrics of the epoch, checkpoint.
TEST_F(StoppedRuns, BehindTheLastStepAreFinishedAndSaySo) {
    {
        const InterruptedCall signal("rename", SIGTERM, 2);
        const Ended ended = run(training("end", 1));
        EXPECT_TRUE(signal.happened());
        EXPECT_EQ(ended.status, 128 + SIGTERM);
        EXPECT_TRUE(ended.says("test, epoch 1 ")) << ended.out;
    }
    EXPECT_TRUE(std::filesystem::exists(in("end/report.html")));
    run(training("whole", 1));
    EXPECT_TRUE(read_bytes(checkpoint("end")) == read_bytes(checkpoint("whole")));

    // In the middle of an epoch the results begin with an evaluation, which is given up.
    {
        const InterruptedCall signal("rename", SIGINT, 1);
        const Ended ended = run(training("middle", 1), {"--max-steps", "2"});
        EXPECT_TRUE(signal.happened());
        EXPECT_EQ(ended.status, 128 + SIGINT);
        EXPECT_TRUE(ended.says("train, epoch 1 so far")) << ended.out;
        EXPECT_FALSE(ended.says("test, after step")) << ended.out;
    }
    EXPECT_EQ(run({"--resume", checkpoint("middle")}).status, 0);
    EXPECT_TRUE(read_bytes(checkpoint("middle")) == read_bytes(checkpoint("whole")));
}

}  // namespace
}  // namespace qstep

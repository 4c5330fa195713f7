// The course of a run: epochs of steps, evaluation, metrics, checkpoints.
#pragma once

#include <optional>
#include <string>

#include "train/checkpoint.h"
#include "train/console.h"
#include "train/feed.h"
#include "train/metrics.h"
#include "train/options.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/session.h"
#include "train/signals.h"

namespace qstep {

/// Test loss and accuracy (percent) over a data set.
struct Evaluation {
    double loss = 0.0;
    double accuracy = 0.0;
};

/// Evaluates the session's model on all test images of its feed. Returns early, with `complete` false, when
/// `signals` (may be null) has received one.
Evaluation evaluate(Session& session, Feed& feed, const StopSignals* signals, bool& complete);

/// How a session for these options and data sets is laid out, for training and evaluation. On a GPU the data
/// are resident.
SessionSettings session_settings(const Options& options, const DataSplits& data);

/// Why run() returned.
enum class RunEnd { finished, stopped_by_signal };

/// One run, from where `progress` says to its end.
class Trainer {
  public:
    /// The session holds the state that belongs to `progress`; `feed` runs its steps on `data`. `options` are
    /// complete: device and threads are the ones in use. The folder exists; metrics.csv keeps its lines up to
    /// progress.epoch.
    Trainer(Session& session, std::unique_ptr<Feed> feed, const DataSplits& data, const Options& options,
            const RunFolder& folder, const Progress& progress);

    /// Trains until the epochs or --max-steps are done, or a signal comes. A checkpoint is written every
    /// --save-every epochs and at the end, also after a signal. Throws a run error that names the parameter,
    /// or says that the loss is not finite; the last checkpoint is then still the last good one.
    RunEnd run(const StopSignals& signals);

    const Progress& progress() const { return progress_; }
    /// Prints losses and accuracies. After --max-steps in the middle of an epoch, evaluates first.
    void print_results(const StopSignals& signals);
    /// Writes report.html, from the folder's files and the last step's gradient. Throws a run error.
    void write_report() const;
    /// The same where run() threw, after at least one finished epoch: without the gradient, with the sentence
    /// of the error. Writes nothing and is silent where it cannot, so that the error itself is what people
    /// read.
    void write_report_of_failure(const std::string& sentence) const noexcept;

  private:
    enum class EpochEnd { complete, step_limit, signal };
    EpochEnd train_epoch(const StopSignals& signals);
    bool finish_epoch(const StopSignals& signals);
    void start_epoch();
    /// Some steps, up to what comes first: the next line of progress or set of histograms, the end of the
    /// epoch,
    /// --max-steps.
    std::int64_t train_some();
    /// Waits for the steps begun; throws for a fault in one of them.
    void look();
    [[noreturn]] void fail(const Fault& fault) const;
    /// The ends of a sentence on a run that went wrong: what may help, and what the last checkpoint holds.
    const char* advice() const;
    std::string what_is_kept() const;
    void save();
    bool at_step_limit() const { return options_.max_steps > 0 && progress_.step >= options_.max_steps; }
    std::int64_t last_step() const;

    Session& session_;
    Options options_;
    RunFolder folder_;
    Progress progress_;
    std::unique_ptr<Feed> feed_;
    std::int64_t batches_;  // of an epoch
    Schedule schedule_;
    MetricsFile metrics_;
    Console console_;
    std::optional<RunLog> log_;
    double lr_ = 0.0;
    bool trained_ = false;           // at least one step in this process
    double epoch_seconds_ = 0.0;     // of training, in this process
    std::int64_t epoch_images_ = 0;  // trained on in this process
    std::int64_t saved_step_ = -1;   // step of the last checkpoint, -1: none yet
    std::int64_t saved_epoch_ = -1;
};

}  // namespace qstep

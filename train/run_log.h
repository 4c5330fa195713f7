// What a run tells TensorBoard on its way.
//
// Scalars at every line of progress and at the end of an epoch, means over the steps since the ones before:
// train/loss, train/accuracy (percent), quantization_variance, images_per_second (training alone); and as
// they are at that step lr, gradient_norm (Euclidean, of the whole gradient), bits_per_element (of the packed
// gradient, headers included). After each epoch test/loss and test/accuracy. Every --histogram-interval steps
// gradient/NAME and quantized/NAME, histograms of the step's gradient of each parameter and of what was
// applied of it.
#pragma once

#include "train/checkpoint.h"
#include "train/event_file.h"
#include "train/feed.h"
#include "train/options.h"
#include "train/session.h"

namespace qstep {

/// What a run writes to its event file: progress while it trains, histograms at an interval, results of
/// epochs.
class RunLog {
  public:
    /// Begins an event file in `folder` for the steps behind `progress`.
    RunLog(Session& session, const Options& options, const std::filesystem::path& folder,
           const Progress& progress, std::int64_t batches);

    /// Whether there is something to tell of the step that `progress` has just finished.
    bool due(const Progress& progress) const { return scalars_due(progress) || histograms_due(progress); }
    /// Steps from `progress` to the next set of histograms.
    std::int64_t steps_to_histograms(const Progress& progress) const;

    /// Where an epoch, or the rest of one, begins.
    void start_epoch(const Progress& progress);
    /// Writes what is due; only when due(). All steps up to `progress` are done, its sums are theirs; lr: of
    /// the last one.
    void steps(const Progress& progress, double lr);
    /// The results of an epoch, at its last step.
    void epoch(const EpochMetrics& metrics);

  private:
    bool scalars_due(const Progress& progress) const;
    bool histograms_due(const Progress& progress) const;
    void add_scalars(EventValues& values, const Progress& progress, double lr, double gradient_norm);
    void add_histograms(EventValues& values, const char* group, const std::vector<float>& flat) const;

    Session& session_;
    std::int64_t log_interval_, histogram_interval_, batches_;
    EventFile file_;
    Progress last_;  // at the scalars before
    double last_seconds_ = 0.0;
};

}  // namespace qstep

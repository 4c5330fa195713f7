#include "train/run_log.h"

#include <cmath>

#include "train/console.h"

namespace qstep {

namespace {

// Of a histogram, as many as TensorFlow's own have.
constexpr int kBins = 30;

}  // namespace

RunLog::RunLog(Session& session, const Options& options, const std::filesystem::path& folder,
               const Progress& progress, std::int64_t batches)
    : session_(session),
      log_interval_(options.log_interval),
      histogram_interval_(options.histogram_interval),
      batches_(batches),
      file_(folder, progress.step + 1) {}

bool RunLog::scalars_due(const Progress& progress) const {
    return progress.batch % log_interval_ == 0 || progress.batch == batches_;
}

bool RunLog::histograms_due(const Progress& progress) const {
    return progress.step % histogram_interval_ == 0;
}

std::int64_t RunLog::steps_to_histograms(const Progress& progress) const {
    return histogram_interval_ - progress.step % histogram_interval_;
}

void RunLog::start_epoch(const Progress& progress) {
    last_ = progress;
    last_seconds_ = seconds_now();
}

void RunLog::steps(const Progress& progress, double lr) {
    EventValues values;
    const std::vector<float> gradient = session_.gradient();
    if (scalars_due(progress)) add_scalars(values, progress, lr, std::sqrt(sum_of_squares(gradient)));
    if (histograms_due(progress)) {
        add_histograms(values, "gradient/", gradient);
        if (session_.optimizer().quantizes())
            add_histograms(values, "quantized/", session_.applied_gradient());
    }
    file_.add(progress.step, values);
}

void RunLog::epoch(const EpochMetrics& metrics) {
    EventValues values;
    values.scalar("test/loss", metrics.test_loss);
    values.scalar("test/accuracy", metrics.test_accuracy);
    file_.add(metrics.step, values);
}

void RunLog::add_scalars(EventValues& values, const Progress& progress, double lr, double gradient_norm) {
    const double now = seconds_now();
    const auto images = static_cast<double>(progress.images - last_.images);
    values.scalar("train/loss", (progress.loss_sum - last_.loss_sum) / images);
    values.scalar("train/accuracy", 100.0 * (progress.right - last_.right) / images);
    values.scalar("quantization_variance", (progress.variance_sum - last_.variance_sum) /
                                               static_cast<double>(progress.batch - last_.batch));
    values.scalar("lr", lr);
    values.scalar("gradient_norm", gradient_norm);
    values.scalar("bits_per_element", session_.optimizer().bits_per_element());
    values.scalar("images_per_second", images / (now - last_seconds_));
    last_ = progress;
    last_seconds_ = now;
}

void RunLog::add_histograms(EventValues& values, const char* group, const std::vector<float>& flat) const {
    for (const auto& parameter : session_.parameters().parameters()) {
        const std::span<const float> part(flat.data() + parameter.offset,
                                          static_cast<std::size_t>(parameter.value.count()));
        values.histogram(group + parameter.name, histogram(part, largest_magnitude(part), kBins));
    }
}

}  // namespace qstep

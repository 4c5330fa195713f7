// What is known about a run after each epoch, and metrics.csv.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace qstep {

/// Results of one epoch. A pure function of the run's options, data and threads.
struct EpochMetrics {
    std::int64_t epoch = 0;                         // finished epochs, from 1
    std::int64_t step = 0;                          // finished steps
    double lr = 0.0;                                // of the epoch's last step
    double train_loss = 0.0, train_accuracy = 0.0;  // over the epoch's steps as they went; percent
    double test_loss = 0.0, test_accuracy = 0.0;    // after the epoch; percent
    double variance = 0.0;                          // quantization variance, mean over the epoch's steps
};

/// What metrics_from_json() takes; numbers come back exactly.
nlohmann::ordered_json to_json(const EpochMetrics& metrics);
/// Throws nlohmann's exceptions where something is missing or of another type.
EpochMetrics metrics_from_json(const nlohmann::ordered_json& values);

/// A line of metrics.csv.
struct MetricsRow {
    EpochMetrics metrics;
    double seconds = 0.0;            // training and evaluation
    double images_per_second = 0.0;  // training images alone; 0: all had been trained on before a resume
};

/// All lines of a metrics.csv. Throws a run error that names the file, and the line that is not one of its
/// own.
std::vector<MetricsRow> read_metrics(const std::filesystem::path& path);

/// metrics.csv: a header and one line an epoch. The file is replaced as a whole, so it never holds part of a
/// line.
class MetricsFile {
  public:
    static constexpr const char* kHeader =
        "epoch,step,lr,train_loss,train_accuracy,test_loss,test_accuracy,quantization_variance,seconds,"
        "images_per_second";

    /// Touches no file yet.
    explicit MetricsFile(std::filesystem::path path) : path_(std::move(path)) {}

    /// Takes over the lines of an existing file up to `epochs`; later ones, of a run that went on beyond the
    /// checkpoint, are dropped with the next add(). Throws a run error for a file of another form.
    void keep_epochs(std::int64_t epochs);

    /// Adds a line and writes the file. seconds: training and evaluation of the epoch; images_per_second:
    /// training images alone. Both as far as this process did it.
    void add(const EpochMetrics& metrics, double seconds, double images_per_second);

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
    std::vector<std::string> lines_;
};

}  // namespace qstep

// What a person sees of a run: a live line on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "train/checkpoint.h"
#include "train/metrics.h"

namespace qstep {

/// Seconds on a clock that only moves forward.
double seconds_now();

/// To standard output, at once. A reader that has gone is no error here: the run hears of it as SIGPIPE.
void say(std::string_view text);

/// Writes to standard output; one a run, for one thread.
class Console {
  public:
    /// epochs, batches: epochs of the run and steps an epoch; log_interval: steps between two plain lines.
    Console(std::int64_t epochs, std::int64_t batches, std::int64_t log_interval);

    /// Begins to measure speed; training starts at this point.
    void start(const Progress& progress, std::int64_t last_step);
    /// True when the next progress() would show something, so that nobody reads sums for nothing.
    bool due(const Progress& progress) const;
    /// loss, accuracy (percent): means over the running epoch.
    void progress(const Progress& progress, double loss, double accuracy, double lr);
    /// A line of its own, above the live line.
    void line(const std::string& text);
    /// One line on a finished epoch: seconds of training and test, images a second of training.
    void epoch(const EpochMetrics& metrics, double seconds, double images_per_second);

  private:
    std::int64_t epochs_, batches_, log_interval_;
    bool terminal_;
    bool live_ = false;  // a live line is on the screen
    double started_ = 0.0, shown_ = 0.0;
    std::int64_t first_step_ = 0, last_step_ = 0;
    std::int64_t images_shown_ = 0, epoch_shown_ = 0;
};

/// "--name value" of every option, one a line.
void print_configuration(const nlohmann::ordered_json& configuration);

}  // namespace qstep

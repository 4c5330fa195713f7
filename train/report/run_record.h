// A run as its folder tells it: config.json and metrics.csv.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "train/metrics.h"

namespace qstep {

/// What a run's folder says of it.
struct RunRecord {
    std::filesystem::path folder;
    nlohmann::ordered_json configuration;  // an object with an object "options"
    std::vector<MetricsRow> rows;          // none before the first epoch is finished

    const MetricsRow& best() const;  // by test accuracy, the earliest; rows must not be empty
    const MetricsRow& last() const { return rows.back(); }
    /// Of the epochs that have a time (time_of); NaN where none has.
    double mean_seconds() const;
    /// The options by name, as they would be typed.
    std::vector<std::pair<std::string, std::string>> options() const;
    /// One of them; empty where it is not there.
    std::string option(const std::string& name) const;
    /// What stands at a place in the configuration, as text; empty where nothing does.
    std::string text(const std::string& pointer) const;
    /// "50000 CIFAR-10 training images"; as much of it as is known.
    std::string training_data() const;
};

/// An epoch's seconds; NaN where the process that finished it trained none of it, because it was stopped and
/// resumed behind its last step.
double time_of(const MetricsRow& row);

/// Throws a run error of one sentence for a folder without a config.json, and for files of another form.
RunRecord read_run(const std::filesystem::path& folder);

/// What tells the runs apart, one text each and no two the same: the codec, those of its options and of the
/// others in which the runs differ, and the training data; the folder where that is not enough.
std::vector<std::string> run_labels(const std::vector<RunRecord>& runs);

/// Whether the option has this value in every run.
bool all_have(const std::vector<RunRecord>& runs, const std::string& option, const std::string& value);

/// Whether the run's codec takes the option; one that is no codec's is taken by every run.
bool takes(const RunRecord& run, const std::string& option);

/// The names of the options in which the runs that take them differ and that say something about what they
/// compute.
std::vector<std::string> differing_options(const std::vector<RunRecord>& runs);

}  // namespace qstep

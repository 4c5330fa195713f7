#include "train/metrics.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/input_file.h"

namespace qstep {

namespace {

constexpr std::int64_t kCommas = 9;

// The epoch a line of the file belongs to.
std::int64_t epoch_of(const std::string& line, const std::filesystem::path& path) {
    std::int64_t epoch = 0;
    const auto [end, status] = std::from_chars(line.data(), line.data() + line.size(), epoch);
    if (status != std::errc() || std::ranges::count(line, ',') != kCommas || *end != ',')
        fail_run("{} has a line that is not one of its own: '{}'", path.string(), shown(line));
    return epoch;
}

}  // namespace

nlohmann::ordered_json to_json(const EpochMetrics& metrics) {
    return {{"epoch", metrics.epoch},
            {"step", metrics.step},
            {"lr", metrics.lr},
            {"train_loss", metrics.train_loss},
            {"train_accuracy", metrics.train_accuracy},
            {"test_loss", metrics.test_loss},
            {"test_accuracy", metrics.test_accuracy},
            {"quantization_variance", metrics.variance}};
}

EpochMetrics metrics_from_json(const nlohmann::ordered_json& values) {
    EpochMetrics metrics;
    values.at("epoch").get_to(metrics.epoch);
    values.at("step").get_to(metrics.step);
    values.at("lr").get_to(metrics.lr);
    values.at("train_loss").get_to(metrics.train_loss);
    values.at("train_accuracy").get_to(metrics.train_accuracy);
    values.at("test_loss").get_to(metrics.test_loss);
    values.at("test_accuracy").get_to(metrics.test_accuracy);
    values.at("quantization_variance").get_to(metrics.variance);
    return metrics;
}

void MetricsFile::keep_epochs(std::int64_t epochs) {
    std::ifstream file(path_);
    std::string line;
    if (!file || !std::getline(file, line)) return;
    if (line != kHeader)
        fail_run("{} does not begin with the header of this program's metrics", path_.string());
    while (std::getline(file, line))
        if (epoch_of(line, path_) <= epochs) lines_.push_back(line);
}

void MetricsFile::add(const EpochMetrics& m, double seconds, double images_per_second) {
    lines_.push_back(fmt::format("{},{},{:.6g},{:.8g},{:.4f},{:.8g},{:.4f},{:.8g},{:.2f},{:.1f}", m.epoch,
                                 m.step, m.lr, m.train_loss, m.train_accuracy, m.test_loss, m.test_accuracy,
                                 m.variance, seconds, images_per_second));
    std::string text = std::string(kHeader) + "\n";
    for (const std::string& line : lines_) text += line + "\n";
    write_text_file(path_, text);
}

}  // namespace qstep

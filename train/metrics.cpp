#include "train/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/input_file.h"
#include "engine/option_values.h"

namespace qstep {

namespace {

constexpr std::int64_t kCommas = 9;

[[noreturn]] void fail_line(const std::string& line, const std::filesystem::path& path) {
    fail_run("{} has a line that is not one of its own: '{}'", path.string(), shown(line));
}

// The epoch a line of the file belongs to.
std::int64_t epoch_of(const std::string& line, const std::filesystem::path& path) {
    std::int64_t epoch = 0;
    const auto [end, status] = std::from_chars(line.data(), line.data() + line.size(), epoch);
    if (status != std::errc() || std::ranges::count(line, ',') != kCommas || *end != ',')
        fail_line(line, path);
    return epoch;
}

// The lines behind the header; none where there is no file.
std::vector<std::string> lines_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::vector<std::string> lines;
    std::string line;
    if (!file || !std::getline(file, line)) return lines;
    if (line != MetricsFile::kHeader)
        fail_run("{} does not begin with the header of this program's metrics", path.string());
    while (std::getline(file, line)) lines.push_back(line);
    return lines;
}

MetricsRow parse_row(const std::string& line, const std::filesystem::path& path) {
    MetricsRow row;
    EpochMetrics& m = row.metrics;
    m.epoch = epoch_of(line, path);
    std::vector<double> numbers;
    for (std::size_t begin = 0; begin <= line.size();) {
        const std::size_t comma = std::min(line.find(',', begin), line.size());
        double number = 0.0;
        if (!parse_number(line.substr(begin, comma - begin), number) || !std::isfinite(number))
            fail_line(line, path);
        numbers.push_back(number);
        begin = comma + 1;
    }
    m.step = static_cast<std::int64_t>(std::clamp(numbers[1], 0.0, 1e15));
    int next = 2;
    for (double* field : {&m.lr, &m.train_loss, &m.train_accuracy, &m.test_loss, &m.test_accuracy,
                          &m.variance, &row.seconds, &row.images_per_second})
        *field = numbers[static_cast<std::size_t>(next++)];
    return row;
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

std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
    std::vector<MetricsRow> rows;
    for (const std::string& line : lines_of(path)) {
        const std::int64_t before = rows.empty() ? 0 : rows.back().metrics.epoch;
        rows.push_back(parse_row(line, path));
        if (rows.back().metrics.epoch <= before) fail_line(line, path);
    }
    return rows;
}

void MetricsFile::keep_epochs(std::int64_t epochs) {
    for (const std::string& line : lines_of(path_))
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

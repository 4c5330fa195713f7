#include "train/report/run_record.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "engine/error.h"
#include "quant/codec_options.h"
#include "train/options.h"
#include "train/run_folder.h"

namespace qstep {

namespace {

using Json = nlohmann::ordered_json;

// Say nothing about what a run computes, or (optimizer) the same as another option.
bool says_nothing(const std::string& name) {
    static const std::set<std::string> kNames{
        "output", "log-interval", "save-every",         "save-model", "max-steps", "threads",
        "device", "tensorboard",  "histogram-interval", "optimizer",  "no-graph",  "deterministic"};
    return kNames.contains(name);
}

// A number, a text, a list of numbers; anything else is not the program's own and is not shown.
std::string plain_text(const Json& value) {
    try {
        return as_text(value);
    } catch (const Error&) {
        return "";
    }
}

std::string shown_option(const std::string& name, const std::string& value) {
    if (name == "quant") return value == "none" ? "no quantization" : value;
    if (value == "true") return name;
    if (value == "false") return "no " + name;
    return name + " " + value;
}

}  // namespace

const MetricsRow& RunRecord::best() const {
    return *std::ranges::max_element(rows, {},
                                     [](const MetricsRow& row) { return row.metrics.test_accuracy; });
}

double RunRecord::mean_seconds() const {
    double sum = 0.0, count = 0.0;
    for (const MetricsRow& row : rows)
        if (const double seconds = time_of(row); !std::isnan(seconds)) {
            sum += seconds;
            count += 1.0;
        }
    return sum / count;
}

double time_of(const MetricsRow& row) {
    return row.images_per_second > 0.0 ? row.seconds : std::numeric_limits<double>::quiet_NaN();
}

std::vector<std::pair<std::string, std::string>> RunRecord::options() const {
    std::vector<std::pair<std::string, std::string>> list;
    for (const auto& item : configuration.at("options").items())
        list.emplace_back(item.key(), plain_text(item.value()));
    return list;
}

std::string RunRecord::option(const std::string& name) const {
    const auto& options = configuration.at("options");
    return options.contains(name) ? plain_text(options.at(name)) : "";
}

std::string RunRecord::text(const std::string& pointer) const {
    const Json::json_pointer place(pointer);
    return configuration.contains(place) ? plain_text(configuration.at(place)) : "";
}

RunRecord read_run(const std::filesystem::path& folder) {
    const RunFolder files{folder};
    std::ifstream file(files.configuration());
    if (!file) fail_run("{} is no folder of a run: it has no config.json that can be read", folder.string());
    RunRecord run{folder, Json::parse(file, nullptr, false), {}};
    if (!run.configuration.is_object() || !run.configuration.contains("options") ||
        !run.configuration["options"].is_object())
        fail_run("{} is not the configuration of a run", files.configuration().string());
    run.rows = read_metrics(files.metrics());
    return run;
}

std::string RunRecord::training_data() const {
    const std::string images = text("/data/train_images"), name = text("/data/train");
    return images.empty() ? name : images + " " + name;
}

bool all_have(const std::vector<RunRecord>& runs, const std::string& option, const std::string& value) {
    return std::ranges::all_of(runs, [&](const RunRecord& run) { return run.option(option) == value; });
}

bool takes(const RunRecord& run, const std::string& name) {
    const auto& table = codec_options();
    const auto asked = std::ranges::find(table, name, &CodecOption::name);
    if (asked == table.end() || name == "quant") return true;
    CodecSettings settings;
    for (const CodecOption& option : table) {
        try {
            option.set(settings, run.option(option.name));
        } catch (const Error&) {
            // Missing, or not the program's own: the default stays.
        }
    }
    return settings.kind != CodecKind::none && (!asked->has_meaning || asked->has_meaning(settings));
}

std::vector<std::string> differing_options(const std::vector<RunRecord>& runs) {
    std::vector<std::string> names;
    for (const RunRecord& run : runs)
        for (const auto& [name, value] : run.options()) {
            if (says_nothing(name) || std::ranges::find(names, name) != names.end()) continue;
            std::set<std::string> values;
            for (const RunRecord& other : runs)
                if (takes(other, name)) values.insert(other.option(name));
            if (values.size() > 1) names.push_back(name);
        }
    return names;
}

std::vector<std::string> run_labels(const std::vector<RunRecord>& runs) {
    const std::vector<std::string> names = differing_options(runs);
    const bool same_data = std::ranges::all_of(
        runs, [&](const RunRecord& run) { return run.training_data() == runs[0].training_data(); });
    std::vector<std::string> labels;
    for (const RunRecord& run : runs) {
        std::vector<std::string> parts;
        for (const std::string& name : names)
            // The option names a folder, which may be called anything.
            if (const std::string value = run.option(name);
                name != "data" && !value.empty() && takes(run, name))
                parts.push_back(shown_option(name, value));
        if (const std::string data = run.training_data(); !same_data && !data.empty()) parts.push_back(data);
        labels.push_back(fmt::format("{}", fmt::join(parts, ", ")));
    }
    const std::vector<std::string> before = labels;
    for (std::size_t i = 0; i < runs.size(); ++i)
        if (before[i].empty() || std::ranges::count(before, before[i]) > 1)
            labels[i] += (before[i].empty() ? "" : ", ") + runs[i].folder.string();
    return labels;
}

}  // namespace qstep

#include "train/report/compare.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "engine/arguments.h"
#include "engine/atomic_file.h"
#include "engine/error.h"
#include "train/console.h"
#include "train/report/html_page.h"
#include "train/report/report_page.h"

namespace qstep {

namespace {

// More curves could not be told apart.
constexpr std::size_t kMostRuns = 24;

constexpr std::string_view kPageKind = "comparison";

// What the runs have there, each value once.
template <typename Text>
std::string distinct(const std::vector<RunRecord>& runs, Text&& text) {
    std::set<std::string> values;
    for (const RunRecord& run : runs)
        if (const std::string value = text(run); !value.empty()) values.insert(value);
    return fmt::format("{}", fmt::join(values, " / "));
}

std::string training_data(const std::vector<RunRecord>& runs) {
    return distinct(runs, [](const RunRecord& run) { return run.training_data(); });
}

std::string charts(const std::vector<RunRecord>& runs, const std::vector<std::string>& labels) {
    const auto chart = [&](const char* title, Scale scale, std::string (*text)(double),
                           double (*value)(const MetricsRow&), bool wide = false, const char* note = "",
                           const char* nothing = "Nothing was rounded in these runs.") {
        std::vector<Curve> curves;
        for (std::size_t i = 0; i < runs.size(); ++i) {
            curves.push_back(epoch_curve(runs[i], labels[i], value));
            curves.back().value = text(curves.back().y.back());
        }
        return svg_chart({title, note, "epoch", scale, true, wide, nothing}, curves);
    };
    std::string out = chart(
        "Test accuracy (%)", Scale::linear, [](double y) { return fmt::format("{:.2f} %", y); },
        [](const MetricsRow& row) { return row.metrics.test_accuracy; }, true);
    out += chart("Test loss (mean cross-entropy, nats)", Scale::linear, loss_text,
                 [](const MetricsRow& row) { return row.metrics.test_loss; });
    out += chart("Train loss (mean cross-entropy, nats)", Scale::linear, loss_text,
                 [](const MetricsRow& row) { return row.metrics.train_loss; });
    out += chart(
        "Variance of the quantization, a step", Scale::logarithmic,
        [](double y) { return fmt::format("{:.4g}", y); },
        [](const MetricsRow& row) { return row.metrics.variance; }, false,
        "sum of (x−l)(r−x) over the gradient, mean of the epoch's steps; no unit; 0 has no curve");
    out += chart("Time an epoch (s)", Scale::from_zero, seconds_text, time_of, false, "",
                 "No time of an epoch is known.");
    return out;
}

std::string results(const std::vector<RunRecord>& runs, const std::vector<std::string>& labels) {
    std::vector<std::vector<std::string>> rows;
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const EpochMetrics &last = runs[i].last().metrics, &best = runs[i].best().metrics;
        const std::string bits = runs[i].text("/bits_per_element");
        rows.push_back({labels[i], std::to_string(last.epoch), fmt::format("{:.2f} %", last.test_accuracy),
                        fmt::format("{:.2f} % ({})", best.test_accuracy, best.epoch),
                        loss_text(last.test_loss), loss_text(last.train_loss),
                        fmt::format("{:.4g}", last.variance), bits.empty() ? "–" : bits,
                        seconds_text(runs[i].mean_seconds()), speed_text(runs[i].last().images_per_second)});
    }
    return html_section(
        "Results after the last epoch",
        html_table({"run", "epochs", "test accuracy", "best (epoch)", "test loss", "train loss", "variance",
                    "bits an element", "mean time an epoch", "images/s"},
                   rows, true));
}

std::string differences(const std::vector<RunRecord>& runs, const std::vector<std::string>& labels) {
    const std::vector<std::string> names = differing_options(runs);
    if (names.empty())
        return html_section("Configuration", "<p class=\"note\">All runs have the same options.</p>\n");
    std::vector<std::string> header{"option"};
    header.insert(header.end(), labels.begin(), labels.end());
    std::vector<std::vector<std::string>> rows;
    for (const std::string& name : names) {
        rows.push_back({name});
        for (const RunRecord& run : runs) rows.back().push_back(takes(run, name) ? run.option(name) : "–");
    }
    return html_section("Options in which the runs differ", html_table(header, rows, false));
}

// What all runs share, and where they lie.
std::string common(const std::vector<RunRecord>& runs, const std::vector<std::string>& labels) {
    std::vector<std::vector<std::string>> options, folders;
    for (const auto& [name, value] : runs[0].options())
        if (all_have(runs, name, value)) options.push_back({name, value});
    for (std::size_t i = 0; i < runs.size(); ++i) folders.push_back({labels[i], runs[i].folder.string()});
    for (const auto& [name, pointer] : {std::pair{"Qstep", "/versions/qstep"},
                                        {"compiler", "/versions/compiler"},
                                        {"system", "/versions/system"},
                                        {"device", "/device_description"}}) {
        const std::string place = pointer;
        const std::string values = distinct(runs, [&place](const RunRecord& run) { return run.text(place); });
        if (!values.empty()) folders.push_back({name, values});
    }
    if (const std::string data = training_data(runs); !data.empty())
        folders.push_back({"training data", data});
    return "<div class=\"pair\">\n" +
           html_section("Options that all runs share", html_table({}, options, false)) +
           html_section("Runs and environment", html_table({}, folders, false)) + "</div>\n";
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& folders) {
    std::vector<RunRecord> runs;
    for (std::size_t i = 0; i < folders.size(); ++i) {
        std::error_code error;
        for (std::size_t j = 0; j < i; ++j)
            if (std::filesystem::equivalent(folders[i], folders[j], error))
                fail_usage("{} and {} are the same folder; name each run once", folders[j], folders[i]);
        RunRecord run = read_run(folders[i]);
        if (run.rows.empty())
            say(fmt::format("left out: {} holds no finished epoch\n", folders[i]));
        else
            runs.push_back(std::move(run));
    }
    if (runs.empty()) fail_run("none of the runs has a finished epoch, so there is nothing to compare");
    return runs;
}

// Nothing but an older comparison may be replaced by one.
void check_replaces_no_other_file(const std::string& path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return;
    const std::string expected = html_page_start(kPageKind);
    std::string start(expected.size(), '\0');
    std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
    if (start != expected)
        fail_usage("{} exists and is no comparison of runs; choose another --output", path);
}

}  // namespace

std::string comparison_page(const std::vector<RunRecord>& runs) {
    const std::vector<std::string> labels = run_labels(runs);
    const std::string models = distinct(runs, [](const RunRecord& run) { return run.option("model"); });
    const std::string title =
        fmt::format("{} {} of {}", runs.size(), runs.size() == 1 ? "run" : "runs", models);
    std::string body = "<h1>" + escaped(title) + "</h1>\n<p class=\"sub\">on " +
                       escaped(training_data(runs)) +
                       "; behind each name the value after its last epoch</p>\n";
    body += "<div class=\"charts\">\n" + charts(runs, labels) + "</div>\n";
    body += results(runs, labels) + differences(runs, labels) + common(runs, labels);
    return html_page(kPageKind, title, body);
}

int compare_runs(const std::vector<std::string>& arguments) {
    std::string output = "compare.html";
    const ProgramArguments parsed = parse_arguments(
        "cifar_train compare DIR...", "Puts the runs in these folders side by side in one page.",
        {{"output", "", "FILE", "the page, one HTML file that needs nothing else", output,
          [&output](const std::string& text) {
              if (text.empty()) fail_usage("--output was given an empty text");
              output = text;
          }}},
        kMostRuns, arguments);
    if (!parsed.help.empty()) {
        say(parsed.help);
        return 0;
    }
    if (parsed.files.empty())
        fail_usage("compare needs the folders of the runs; see cifar_train compare --help");
    check_replaces_no_other_file(output);
    write_text_file(output, comparison_page(read_runs(parsed.files)));
    say(fmt::format("written: {}\n", output));
    return 0;
}

}  // namespace qstep

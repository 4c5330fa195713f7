#include "apps/gradient_variance_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace qstep {

namespace {

// README of smart-quantizer, "Average variance".
const std::map<std::string, double> kPublished{{"standard", 1.044},   {"exponential", 0.049},
                                               {"smart 1 %", 0.18},   {"smart 5 %", 0.069},
                                               {"smart 15 %", 0.036}, {"smart 25 %", 0.03}};

template <typename Value>
double mean(const VarianceStudy& study, Value&& value) {
    double sum = 0.0;
    for (const MeasuredStep& step : study.steps) sum += value(step);
    return sum / static_cast<double>(study.steps.size());
}

double mean_variance(const VarianceStudy& study, std::size_t codec) {
    return mean(study, [codec](const MeasuredStep& step) { return step.variances[codec]; });
}

std::string share(double part, double whole) {
    return whole > 0.0 ? fmt::format("{:.2f} %", 100.0 * part / whole) : "-";
}

using Row = std::array<std::string, 6>;

Row row(const VarianceStudy& study, std::size_t codec, double squared_norm, double standard) {
    const std::string& label = study.labels[codec];
    const double variance = mean_variance(study, codec);
    const auto published = kPublished.find(label);
    const bool known = published != kPublished.end();
    return {label,
            fmt::format("{:.4g}", variance),
            share(variance, squared_norm),
            share(variance, standard),
            known ? fmt::format("{:g}", published->second) : "-",
            known ? share(published->second, kPublished.at("standard")) : "-"};
}

}  // namespace

std::string variance_csv(const VarianceStudy& study) {
    std::string text = fmt::format("step,loss,squared_norm,{}\n", fmt::join(study.labels, ","));
    for (std::size_t i = 0; i < study.steps.size(); ++i) {
        const MeasuredStep& step = study.steps[i];
        text +=
            fmt::format("{},{},{},{}\n", i + 1, step.loss, step.squared_norm, fmt::join(step.variances, ","));
    }
    return text;
}

std::string variance_table(const VarianceStudy& study) {
    const double squared_norm = mean(study, [](const MeasuredStep& step) { return step.squared_norm; });
    const auto found = std::ranges::find(study.labels, "standard");
    const double standard =
        found == study.labels.end()
            ? 0.0
            : mean_variance(study, static_cast<std::size_t>(found - study.labels.begin()));
    std::vector<Row> rows{
        {"codec", "mean variance", "of \\|g\\|²", "of standard", "published", "of standard"},
        {"---", "---:", "---:", "---:", "---:", "---:"}};
    for (std::size_t codec = 0; codec < study.labels.size(); ++codec)
        rows.push_back(row(study, codec, squared_norm, standard));
    std::array<std::size_t, std::tuple_size_v<Row>> widths{};
    for (const Row& cells : rows)
        for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
    std::string text;
    for (const Row& cells : rows) {
        for (std::size_t i = 0; i < widths.size(); ++i)
            text += i == 0 ? fmt::format("| {:<{}} |", cells[i], widths[i])
                           : fmt::format(" {:>{}} |", cells[i], widths[i]);
        text += '\n';
    }
    return text;
}

}  // namespace qstep

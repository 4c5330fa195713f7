#include "apps/gradient_variance/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace qstep {

namespace {

template <typename Value>
double mean(const VarianceStudy& study, Value&& value) {
    double sum = 0.0;
    for (const MeasuredStep& step : study.steps) sum += value(step);
    return sum / static_cast<double>(study.steps.size());
}

double mean_variance(const VarianceStudy& study, std::size_t codec) {
    return mean(study, [codec](const MeasuredStep& step) { return step.variances[codec]; });
}

std::string share(std::optional<double> part, std::optional<double> whole) {
    return part && whole && *whole > 0.0 ? fmt::format("{:.2f} %", 100.0 * *part / *whole) : "-";
}

using Row = std::array<std::string, 6>;

std::string in_markdown(const std::vector<Row>& rows) {
    std::array<std::size_t, std::tuple_size_v<Row>> widths{};
    for (const Row& cells : rows)
        for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
    std::string text;
    for (const Row& cells : rows) {
        text += fmt::format("| {:<{}} |", cells[0], widths[0]);
        for (std::size_t i = 1; i < widths.size(); ++i) text += fmt::format(" {:>{}} |", cells[i], widths[i]);
        text += '\n';
    }
    return text;
}

}  // namespace

std::string variance_csv(const VarianceStudy& study) {
    std::string text = "step,loss,squared_norm";
    for (const StudiedCodec& codec : study.codecs) text.append(1, ',').append(codec.label);
    text += '\n';
    for (std::size_t i = 0; i < study.steps.size(); ++i) {
        const MeasuredStep& step = study.steps[i];
        text +=
            fmt::format("{},{},{},{}\n", i + 1, step.loss, step.squared_norm, fmt::join(step.variances, ","));
    }
    return text;
}

std::string averages_csv(const VarianceStudy& study) {
    std::string text = "codec,mean_variance,published\n";
    for (std::size_t i = 0; i < study.codecs.size(); ++i) {
        const auto& [label, settings, published] = study.codecs[i];
        text += fmt::format("{},{},{}\n", label, mean_variance(study, i),
                            published ? fmt::format("{}", *published) : "");
    }
    return text;
}

std::string variance_table(const VarianceStudy& study) {
    const double squared_norm = mean(study, [](const MeasuredStep& step) { return step.squared_norm; });
    std::optional<double> standard, published_standard;
    const auto found = std::ranges::find(study.codecs, "standard", &StudiedCodec::label);
    if (found != study.codecs.end()) {
        standard = mean_variance(study, static_cast<std::size_t>(found - study.codecs.begin()));
        published_standard = found->published;
    }
    std::vector<Row> rows{
        {"codec", "mean variance", "of mean \\|g\\|^2", "of standard", "published", "of standard"},
        {"---", "---:", "---:", "---:", "---:", "---:"}};
    for (std::size_t i = 0; i < study.codecs.size(); ++i) {
        const auto& [label, settings, published] = study.codecs[i];
        const double variance = mean_variance(study, i);
        rows.push_back({label, fmt::format("{:.4g}", variance), share(variance, squared_norm),
                        share(variance, standard), published ? fmt::format("{:g}", *published) : "-",
                        share(published, published_standard)});
    }
    return in_markdown(rows);
}

}  // namespace qstep

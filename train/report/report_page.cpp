#include "train/report/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/report/html_page.h"

namespace qstep {

namespace {

// Odd, so that one bin lies around 0.
constexpr int kBins = 81;
constexpr const char* kNoEpoch = "No epoch is finished yet.";

double test_accuracy(const MetricsRow& row) {
    return row.metrics.test_accuracy;
}
double train_accuracy(const MetricsRow& row) {
    return row.metrics.train_accuracy;
}
double test_loss(const MetricsRow& row) {
    return row.metrics.test_loss;
}
double train_loss(const MetricsRow& row) {
    return row.metrics.train_loss;
}

std::vector<Tile> tiles(const RunRecord& run) {
    if (run.rows.empty()) return {{"–", kNoEpoch}};
    const EpochMetrics &last = run.last().metrics, &best = run.best().metrics;
    std::vector<Tile> list{
        {fmt::format("{:.2f} %", last.test_accuracy),
         fmt::format("test accuracy after epoch {}", last.epoch)},
        {fmt::format("{:.2f} %", best.test_accuracy), fmt::format("best, after epoch {}", best.epoch)},
        {loss_text(last.test_loss), "test loss (mean cross-entropy, nats)"},
        {seconds_text(run.mean_seconds()), "mean time an epoch"},
        {speed_text(run.last().images_per_second), "images/s in the last epoch"}};
    if (const std::string bits = run.text("/bits_per_element"); !bits.empty())
        list.push_back({bits, "bits an element of the gradient"});
    return list;
}

std::string charts(const RunRecord& run) {
    const auto curve = [&run](const char* name, double (*value)(const MetricsRow&), const char* unit = "") {
        Curve made = epoch_curve(run, name, value);
        if (!made.y.empty() && std::isfinite(made.y.back()))
            made.value = fmt::format("{:.4g}{}", made.y.back(), unit);
        return made;
    };
    const auto with_scale = [](const char* title, Scale scale, const char* empty = kNoEpoch) {
        Chart chart;
        chart.title = title;
        chart.x_label = "epoch";
        chart.scale = scale;
        chart.nothing = empty;
        return chart;
    };
    std::string out = svg_chart(with_scale("Accuracy (%)", Scale::linear),
                                {curve("test", test_accuracy, " %"), curve("train", train_accuracy, " %")});
    out += svg_chart(with_scale("Loss (mean cross-entropy, nats)", Scale::linear),
                     {curve("test", test_loss), curve("train", train_loss)});
    Chart variance = with_scale("Variance of the quantization, a step", Scale::logarithmic,
                                run.rows.empty() ? kNoEpoch : "Nothing was rounded in this run.");
    variance.note = "sum of (x−l)(r−x) over the gradient, mean of the epoch's steps; no unit";
    out +=
        svg_chart(variance, {curve("variance", [](const MetricsRow& row) { return row.metrics.variance; })});
    out += svg_chart(with_scale("Time an epoch (s)", Scale::from_zero,
                                run.rows.empty() ? kNoEpoch : "No time of an epoch is known."),
                     {curve("training and test", time_of, " s")});
    out += svg_chart(with_scale("Learning rate, at the end of an epoch", Scale::from_zero),
                     {curve("learning rate", [](const MetricsRow& row) { return row.metrics.lr; })});
    return out;
}

// The outline of a histogram, bin by bin.
Curve outline(const char* name, const Histogram& histogram) {
    Curve curve;
    curve.name = name;
    curve.marked = false;
    double left = histogram.low;
    for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
        const double right = histogram.limit(i), count = static_cast<double>(histogram.counts[i]);
        curve.x.insert(curve.x.end(), {left, right});
        // Nothing on a logarithmic scale would be infinitely far down.
        curve.y.insert(curve.y.end(), 2, std::max(count, 0.5));
        left = right;
    }
    return curve;
}

std::string gradient_chart(const GradientPicture& gradient) {
    Chart chart;
    chart.title =
        gradient.after ? "Gradient before and after quantization" : "Gradient, which nothing quantized";
    chart.note = fmt::format("elements a bin; {1} elements in {2} bins, step {0}; an empty bin lies below 1",
                             gradient.step, gradient.before.count, gradient.before.counts.size());
    chart.x_label = "value of an element";
    chart.scale = Scale::logarithmic;
    chart.whole_x = false;
    std::vector<Curve> curves{outline(gradient.after ? "before" : "gradient", gradient.before)};
    curves[0].filled = true;
    if (gradient.after) curves.push_back(outline("after", *gradient.after));
    return svg_chart(chart, curves);
}

std::string tables(const RunRecord& run) {
    std::vector<std::vector<std::string>> options, environment;
    for (const auto& [name, value] : run.options()) options.push_back({name, value});
    for (const auto& [name, pointer] : {std::pair{"Qstep", "/versions/qstep"},
                                        {"compiler", "/versions/compiler"},
                                        {"system", "/versions/system"},
                                        {"device", "/device_description"},
                                        {"threads", "/options/threads"},
                                        {"parameters", "/parameters"},
                                        {"training data", "/data/train"},
                                        {"training images", "/data/train_images"},
                                        {"test data", "/data/test"},
                                        {"test images", "/data/test_images"},
                                        {"bits an element", "/bits_per_element"}})
        if (const std::string value = run.text(pointer); !value.empty()) environment.push_back({name, value});
    environment.push_back({"folder", run.folder.string()});
    return "<div class=\"pair\">\n" + html_section("Configuration", html_table({}, options, false)) +
           html_section("Environment", html_table({}, environment, false)) + "</div>\n";
}

std::string epochs(const RunRecord& run) {
    std::vector<std::vector<std::string>> rows;
    for (const MetricsRow& row : run.rows) {
        const EpochMetrics& m = row.metrics;
        rows.push_back({std::to_string(m.epoch), std::to_string(m.step), fmt::format("{:.4g}", m.lr),
                        loss_text(m.train_loss), fmt::format("{:.2f}", m.train_accuracy),
                        loss_text(m.test_loss), fmt::format("{:.2f}", m.test_accuracy),
                        fmt::format("{:.4g}", m.variance), seconds_text(time_of(row)),
                        speed_text(row.images_per_second)});
    }
    return "<section><details>\n<summary>All epochs in numbers</summary>\n" +
           html_table({"epoch", "steps", "learning rate", "train loss", "train accuracy (%)", "test loss",
                       "test accuracy (%)", "variance", "time", "images/s"},
                      rows, true) +
           "</details></section>\n";
}

}  // namespace

std::string loss_text(double loss) {
    return std::abs(loss) < 1e4 ? fmt::format("{:.4f}", loss) : fmt::format("{:.4g}", loss);
}

std::string seconds_text(double seconds) {
    return std::isnan(seconds) ? "–" : fmt::format("{:.1f} s", seconds);
}

std::string speed_text(double images_per_second) {
    return images_per_second > 0.0 ? fmt::format("{:.0f}", images_per_second) : "–";
}

Curve epoch_curve(const RunRecord& run, const std::string& name, double (*value)(const MetricsRow&)) {
    Curve curve;
    curve.name = name;
    for (const MetricsRow& row : run.rows) {
        curve.x.push_back(static_cast<double>(row.metrics.epoch));
        curve.y.push_back(value(row));
    }
    return curve;
}

GradientPicture gradient_picture(std::int64_t step, std::span<const float> gradient,
                                 std::span<const float> applied) {
    const float range = std::max(largest_magnitude(gradient), largest_magnitude(applied));
    GradientPicture picture{step, histogram(gradient, range, kBins), {}};
    if (!applied.empty()) picture.after = histogram(applied, range, kBins);
    return picture;
}

std::string report_page(const RunRecord& run, const std::optional<GradientPicture>& gradient,
                        const std::string& failure) {
    const std::string model = run.option("model"), codec = run.option("quant");
    const std::string title = fmt::format("{}, {}", model, codec == "none" ? "no quantization" : codec);
    std::string body =
        "<h1>" + escaped(title) + "</h1>\n<p class=\"sub\">" +
        escaped(fmt::format("{} of {} epochs on {}; {}", run.rows.empty() ? 0 : run.last().metrics.epoch,
                            run.option("epochs"), run.text("/data/train"), run.folder.string())) +
        "</p>\n";
    if (!failure.empty())
        body += "<p class=\"failure\">This run ended in an error: " + escaped(failure) + ".</p>\n";
    body += html_tiles(tiles(run));
    body +=
        "<div class=\"charts\">\n" + charts(run) + (gradient ? gradient_chart(*gradient) : "") + "</div>\n";
    body += tables(run);
    if (!run.rows.empty()) body += epochs(run);
    return html_page("report", title, body);
}

}  // namespace qstep

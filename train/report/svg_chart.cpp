#include "train/report/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "train/report/chart_axis.h"
#include "train/report/html_page.h"

namespace qstep {

namespace {

constexpr double kTop = 10.0, kBottom = 44.0, kLeft = 62.0, kRight = 16.0;
constexpr std::size_t kColours = 8, kMarkers = 4, kDashes = 3;
constexpr std::size_t kMostMarked = 40;
constexpr int kMostTicks = 6;

// On narrow screens, where letters are larger beside the chart: a count is short, "−0.0025" is not.
int most_x_ticks(const Chart& chart) {
    if (chart.wide) return 20;
    return chart.whole_x ? 10 : 5;
}

// Where points come to stand.
struct Frame {
    Axis x, y;
    double width, height;

    double left(double value) const { return kLeft + x.at(value) * (width - kLeft - kRight); }
    double top(double value) const { return height - kBottom - y.at(value) * (height - kTop - kBottom); }
};

bool drawable(const Chart& chart, double y) {
    return std::isfinite(y) && (chart.scale != Scale::logarithmic || y > 0.0);
}

std::string colour(std::size_t index) {
    return fmt::format("var(--c{})", index % kColours);
}

const char* dash(std::size_t index) {
    static constexpr const char* kPatterns[kDashes] = {"", " stroke-dasharray=\"7 5\"",
                                                       " stroke-dasharray=\"2 5\""};
    return kPatterns[index / kColours % kDashes];
}

// Circle, square, diamond, triangle, all of about the same area.
std::string marker(std::size_t index, double x, double y) {
    switch (index % kMarkers) {
        case 0:
            return fmt::format("M{:.1f} {:.1f}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", x - 4.0, y);
        case 1:
            return fmt::format("M{:.1f} {:.1f}h7.2v7.2h-7.2z", x - 3.6, y - 3.6);
        case 2:
            return fmt::format("M{:.1f} {:.1f}l5.2 5.2l-5.2 5.2l-5.2 -5.2z", x, y - 5.2);
        default:
            return fmt::format("M{:.1f} {:.1f}l5.2 9h-10.4z", x, y - 5.4);
    }
}

Frame frame_of(const Chart& chart, const std::vector<Curve>& curves) {
    double x_low = std::numeric_limits<double>::infinity(), x_high = -x_low, y_low = x_low, y_high = x_high;
    for (const Curve& curve : curves)
        for (std::size_t i = 0; i < curve.y.size(); ++i) {
            if (!drawable(chart, curve.y[i])) continue;
            x_low = std::min(x_low, curve.x[i]);
            x_high = std::max(x_high, curve.x[i]);
            y_low = std::min(y_low, curve.y[i]);
            y_high = std::max(y_high, curve.y[i]);
        }
    if (chart.scale == Scale::from_zero) y_low = std::min(y_low, 0.0);
    if (chart.scale == Scale::from_zero && y_high <= 0.0) y_high = 1.0;
    Axis y = chart.scale == Scale::logarithmic ? log_axis(y_low, y_high, kMostTicks)
                                               : linear_axis(y_low, y_high, kMostTicks, false);
    return {tight_axis(x_low, x_high, most_x_ticks(chart), chart.whole_x), std::move(y),
            chart.wide ? 1040.0 : 500.0, chart.wide ? 360.0 : 270.0};
}

std::string axes(const Chart& chart, const Frame& frame) {
    std::string out;
    const double right = frame.width - kRight, bottom = frame.height - kBottom;
    for (const double tick : frame.y.ticks)
        out += fmt::format(
            "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
            "<text text-anchor=\"end\" x=\"{3}\" y=\"{4:.1f}\">{5}</text>\n",
            kLeft, right, frame.top(tick), kLeft - 9.0, frame.top(tick) + 4.3, tick_label(tick));
    for (const double tick : frame.x.ticks)
        out += fmt::format(
            "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>"
            "<text text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3}\">{4}</text>\n",
            frame.left(tick), bottom, bottom + 5.0, bottom + 18.0, tick_label(tick));
    out += fmt::format("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", kLeft, right,
                       bottom, bottom);
    out += fmt::format("<text text-anchor=\"middle\" x=\"{:.1f}\" y=\"{}\">{}</text>\n",
                       (kLeft + right) / 2.0, frame.height - 7.0, escaped(chart.x_label));
    return out;
}

std::string curve_path(const Chart& chart, const Frame& frame, const Curve& curve, std::size_t index) {
    std::string line, area;
    bool gap = true;
    double begun = 0.0, ended = 0.0;
    const auto close_area = [&] {
        if (!gap)
            area += fmt::format("L{:.1f} {}L{:.1f} {}z", ended, frame.height - kBottom, begun,
                                frame.height - kBottom);
    };
    for (std::size_t i = 0; i < curve.y.size(); ++i) {
        if (!drawable(chart, curve.y[i])) {
            close_area();
            gap = true;
            continue;
        }
        const double x = frame.left(curve.x[i]), y = frame.top(curve.y[i]);
        const std::string point = fmt::format("{}{:.1f} {:.1f}", gap ? "M" : "L", x, y);
        line += point;
        area += point;
        if (gap) begun = x;
        ended = x;
        gap = false;
    }
    close_area();
    std::string out;
    if (curve.filled)
        out += fmt::format("<path class=\"area\" fill=\"{}\" d=\"{}\"/>\n", colour(index), area);
    return out + fmt::format("<path class=\"curve\" stroke=\"{}\"{} d=\"{}\"/>\n", colour(index), dash(index),
                             line);
}

std::string markers(const Chart& chart, const Frame& frame, const Curve& curve, std::size_t index) {
    std::string out;
    if (!curve.marked || curve.y.size() > kMostMarked) return out;
    for (std::size_t i = 0; i < curve.y.size(); ++i) {
        if (!drawable(chart, curve.y[i])) continue;
        out +=
            fmt::format("<path class=\"mark\" fill=\"{}\" d=\"{}\"><title>{}, {} {}: {:.5g}</title></path>\n",
                        colour(index), marker(index, frame.left(curve.x[i]), frame.top(curve.y[i])),
                        escaped(curve.name), escaped(chart.x_label), tick_label(curve.x[i]), curve.y[i]);
    }
    return out;
}

std::string legend(const std::vector<Curve>& curves) {
    std::string out = "<ul class=\"legend\">\n";
    for (std::size_t i = 0; i < curves.size(); ++i) {
        const bool marked = curves[i].marked && curves[i].y.size() <= kMostMarked;
        out += fmt::format(
            "<li><svg width=\"30\" height=\"12\" aria-hidden=\"true\"><path class=\"curve\" "
            "stroke=\"{0}\"{1} d=\"M2 "
            "6H28\"/>{2}</svg><span>{3}</span>{4}</li>\n",
            colour(i), dash(i),
            marked
                ? fmt::format("<path class=\"mark\" fill=\"{}\" d=\"{}\"/>", colour(i), marker(i, 15.0, 6.0))
                : "",
            escaped(curves[i].name),
            curves[i].value.empty() ? "" : "<b>" + escaped(curves[i].value) + "</b>");
    }
    return out + "</ul>\n";
}

}  // namespace

std::string svg_chart(const Chart& chart, const std::vector<Curve>& curves) {
    std::string out = fmt::format("<figure{}>\n<figcaption>{}</figcaption>\n",
                                  chart.wide ? " class=\"wide\"" : "", escaped(chart.title));
    if (!chart.note.empty()) out += "<p class=\"note\">" + escaped(chart.note) + "</p>\n";
    const bool any = std::ranges::any_of(curves, [&](const Curve& curve) {
        return std::ranges::any_of(curve.y, [&](double y) { return drawable(chart, y); });
    });
    if (!any) return out + "<p class=\"note\">" + escaped(chart.nothing) + "</p>\n</figure>\n";
    const Frame frame = frame_of(chart, curves);
    out += legend(curves);
    out += fmt::format("<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
                       frame.width, frame.height, escaped(chart.title));
    out += axes(chart, frame);
    for (std::size_t i = 0; i < curves.size(); ++i) out += curve_path(chart, frame, curves[i], i);
    for (std::size_t i = 0; i < curves.size(); ++i) out += markers(chart, frame, curves[i], i);
    return out + "</svg>\n</figure>\n";
}

}  // namespace qstep

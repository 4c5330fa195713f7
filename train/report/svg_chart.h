// Charts of curves, as HTML figures that hold an SVG; colours and fonts come from the page's style.
#pragma once

#include <string>
#include <vector>

namespace qstep {

/// Points, joined by lines.
struct Curve {
    std::string name;  // text
    std::vector<double> x, y;
    std::string value;    // shown behind the name, or empty: "82.90 %"
    bool filled = false;  // as an area down to the axis
    bool marked = true;   // a marker, which shows its numbers, at each point where these are few
};

/// Of the vertical axis.
enum class Scale { linear, from_zero, logarithmic };

/// All of a chart but its curves.
struct Chart {
    std::string title;  // text, with the unit of y
    std::string note;   // text below the title, or empty
    std::string x_label;
    Scale scale = Scale::linear;
    bool whole_x = true;  // x counts something
    bool wide = false;    // over the whole page
    std::string nothing;  // text, instead of a chart without a point
};

/// A figure with title, legend and chart. Points whose y is not finite, or not above 0 on a logarithmic
/// scale, are left out.
std::string svg_chart(const Chart& chart, const std::vector<Curve>& curves);

}  // namespace qstep

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stack>

#include "tests/count_of.h"
#include "train/report/chart_axis.h"
#include "train/report/html_page.h"
#include "train/report/svg_chart.h"

namespace qstep {
namespace {

// Every tag that opens closes, in order.
void expect_balanced(const std::string& text) {
    std::stack<std::string> open;
    for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
        const std::size_t end = text.find('>', at);
        ASSERT_NE(end, std::string::npos);
        const std::string tag = text.substr(at + 1, end - at - 1);
        const std::string name = tag.substr(tag[0] == '/', tag.find(' ') - (tag[0] == '/'));
        if (tag.ends_with("/")) continue;
        if (tag[0] != '/') {
            open.push(name);
            continue;
        }
        ASSERT_FALSE(open.empty()) << tag;
        EXPECT_EQ(open.top(), name);
        open.pop();
    }
    EXPECT_TRUE(open.empty());
}

TEST(ChartAxis, TicksAreRoundAndCoverTheRange) {
    for (const auto& [low, high] : {std::pair{0.0, 1.0},
                                    {30.11, 82.9},
                                    {-0.3, 0.27},
                                    {1e-7, 3e-7},
                                    {0.0, 51234.0},
                                    {5.0, 5.0},
                                    {0.0, 0.0}}) {
        const Axis axis = linear_axis(low, high, 6, false);
        // Of rounding.
        const double hair = 1e-9 * (axis.high - axis.low);
        EXPECT_LE(axis.low, low + hair);
        EXPECT_GE(axis.high, high - hair);
        EXPECT_LT(axis.low, axis.high);
        ASSERT_GE(axis.ticks.size(), 3u) << low << " " << high;
        EXPECT_LE(axis.ticks.size(), 8u) << low << " " << high;
        EXPECT_EQ(axis.ticks.front(), axis.low);
        EXPECT_EQ(axis.ticks.back(), axis.high);
        const double step = axis.ticks[1] - axis.ticks[0];
        const double digits = step / std::pow(10.0, std::floor(std::log10(step) + 1e-9));
        EXPECT_TRUE(std::ranges::any_of(std::vector{1.0, 2.0, 2.5, 5.0}, [&](double round) {
            return std::fabs(digits - round) < 1e-6;
        })) << step;
        EXPECT_EQ(axis.at(axis.low), 0.0);
        EXPECT_EQ(axis.at(axis.high), 1.0);
    }
}

TEST(ChartAxis, EpochsAreWholeNumbers) {
    for (const double last : {1.0, 2.0, 5.0, 10.0, 23.0, 200.0}) {
        const Axis axis = tight_axis(1.0, last, 10, true);
        EXPECT_FALSE(axis.ticks.empty());
        EXPECT_LE(axis.ticks.size(), 11u);
        for (const double tick : axis.ticks) {
            EXPECT_EQ(tick, std::floor(tick));
            EXPECT_GE(axis.at(tick), 0.0);
            EXPECT_LE(axis.at(tick), 1.0);
        }
    }
}

TEST(ChartAxis, LogarithmicTicksArePowersOfTen) {
    const Axis axis = log_axis(3e-5, 0.2, 6);
    EXPECT_DOUBLE_EQ(axis.low, 1e-5);
    EXPECT_DOUBLE_EQ(axis.high, 1.0);
    EXPECT_EQ(axis.ticks.size(), 6u);
    EXPECT_NEAR(axis.at(1e-3), 0.4, 1e-12);
    // One decade has more of them.
    EXPECT_EQ(log_axis(2.0, 8.0, 6).ticks.size(), 4u);
    // Many decades leave some out.
    EXPECT_LE(log_axis(1e-30, 1.0, 6).ticks.size(), 7u);
}

TEST(ChartAxis, AnyNumbersHaveAnAxis) {
    constexpr double kMost = std::numeric_limits<double>::max(),
                     kLeast = std::numeric_limits<double>::denorm_min();
    for (const auto& [low, high] : {std::pair{1e17, 1e17 + 16.0},
                                    {9e18, 9e18},
                                    {-kMost, kMost},
                                    {kMost, kMost},
                                    {0.0, kLeast},
                                    {-kLeast, kLeast},
                                    {1.0, 1.0 + 1e-15}})
        for (const bool whole : {false, true})
            for (const Axis& axis : {linear_axis(low, high, 6, whole), tight_axis(low, high, 6, whole)}) {
                EXPECT_LT(axis.low, axis.high);
                EXPECT_TRUE(std::isfinite(axis.at(low)));
                EXPECT_LE(axis.ticks.size(), 9u);
            }
    for (const auto& [low, high] : {std::pair{kLeast, kMost}, {kLeast, kLeast}, {kMost, kMost}}) {
        const Axis axis = log_axis(low, high, 6);
        EXPECT_TRUE(std::isfinite(axis.at(low)));
        EXPECT_LE(axis.ticks.size(), 9u);
    }
}

TEST(ChartAxis, Labels) {
    EXPECT_EQ(tick_label(0.0), "0");
    EXPECT_EQ(tick_label(0.25), "0.25");
    EXPECT_EQ(tick_label(-0.1), "−0.1");
    EXPECT_EQ(tick_label(3 * 0.1), "0.3");
    EXPECT_EQ(tick_label(2000.0), "2000");
    EXPECT_EQ(tick_label(12000.0), "12\u202f000");
    EXPECT_EQ(tick_label(1e5), "10⁵");
    EXPECT_EQ(tick_label(2.5e-4), "2.5×10⁻⁴");
    EXPECT_EQ(tick_label(-3e12), "−3×10¹²");
}

TEST(SvgChart, HoldsItsCurves) {
    const std::string text = svg_chart({"Loss", "a note", "epoch", Scale::linear, true, false, ""},
                                       {{"one", {1, 2, 3}, {3, 2, 1}, "1.0"}, {"two", {1, 2}, {1, 2}, ""}});
    expect_balanced(text);
    EXPECT_EQ(count_of(text, "class=\"curve\""), 4u);  // two in the legend
    EXPECT_EQ(count_of(text, "<title>"), 5u);
    EXPECT_NE(text.find("<title>one, epoch 2: 2</title>"), std::string::npos) << text;
    EXPECT_NE(text.find("<b>1.0</b>"), std::string::npos);
    EXPECT_EQ(text.find("nan"), std::string::npos);
}

TEST(SvgChart, LeavesOutWhatCannotBeDrawn) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    const Curve curve{"c", {1, 2, 3, 4, 5}, {1.0, kNan, 2.0, 0.0, 3.0}, "", true};
    const std::string linear = svg_chart({"t", "", "x", Scale::linear, true, false, ""}, {curve});
    EXPECT_EQ(count_of(linear, "<title>"), 4u);
    const std::string logarithmic = svg_chart({"t", "", "x", Scale::logarithmic, true, false, ""}, {curve});
    EXPECT_EQ(count_of(logarithmic, "<title>"), 3u);
    for (const std::string& text : {linear, logarithmic}) {
        expect_balanced(text);
        EXPECT_EQ(text.find("nan"), std::string::npos);
        EXPECT_EQ(text.find("inf"), std::string::npos);
    }
}

TEST(SvgChart, SaysWhyThereIsNothing) {
    for (const std::vector<Curve>& curves :
         {std::vector<Curve>{}, {{"c", {}, {}, ""}}, {{"c", {1, 2}, {0, 0}, ""}}}) {
        const std::string text =
            svg_chart({"t", "", "x", Scale::logarithmic, true, false, "Nothing <here>."}, curves);
        expect_balanced(text);
        EXPECT_NE(text.find("Nothing &lt;here&gt;."), std::string::npos);
        EXPECT_EQ(text.find("<svg"), std::string::npos);
    }
}

// At 15 units of a letter's height, which narrow screens have, a letter is some 8 wide.
TEST(SvgChart, LabelsBelowFitBesideEachOther) {
    for (const double range : {0.0123, 0.0247, 3.1e-5, 0.6}) {
        const std::string text = svg_chart({"t", "", "x", Scale::logarithmic, false, false, ""},
                                           {{"c", {-range, range}, {1, 2}, ""}});
        double right = -1e9;
        static constexpr std::string_view kStart = "<text text-anchor=\"middle\" x=\"";
        for (std::size_t at = text.find(kStart); at != std::string::npos; at = text.find(kStart, at + 1)) {
            const double middle = std::stod(text.substr(at + kStart.size()));
            const std::string label =
                text.substr(text.find('>', at) + 1, text.find('<', at + 1) - text.find('>', at) - 1);
            if (label == "x") continue;  // in a row of its own
            // Bytes of a letter in UTF-8 behind the first are no letters.
            const auto letters = std::ranges::count_if(label, [](char c) { return (c & 0xc0) != 0x80; });
            EXPECT_GT(middle - 4.0 * static_cast<double>(letters), right) << label;
            right = middle + 4.0 * static_cast<double>(letters);
        }
        EXPECT_GT(right, 0.0);
    }
}

TEST(SvgChart, OnePointAndEqualValues) {
    for (const Scale scale : {Scale::linear, Scale::from_zero, Scale::logarithmic}) {
        const std::string one = svg_chart({"t", "", "x", scale, true, true, ""}, {{"c", {1}, {7}, ""}});
        const std::string same =
            svg_chart({"t", "", "x", scale, true, false, ""}, {{"c", {1, 2}, {7, 7}, ""}});
        for (const std::string& text : {one, same}) {
            expect_balanced(text);
            EXPECT_EQ(text.find("nan"), std::string::npos);
            EXPECT_EQ(text.find("inf"), std::string::npos);
        }
    }
}

TEST(SvgChart, AScaleFromZeroHoldsZeroWhateverTheCurve) {
    for (const std::vector<double>& values : {std::vector<double>{0, 0}, {-3, -1}, {2, 5}}) {
        const std::string text =
            svg_chart({"t", "", "x", Scale::from_zero, true, false, ""}, {{"c", {1, 2}, values, ""}});
        expect_balanced(text);
        EXPECT_NE(text.find(">0</text>"), std::string::npos) << text;
        EXPECT_EQ(text.find("nan"), std::string::npos);
    }
}

TEST(SvgChart, CurvesHaveMarksOfTheirOwnWhileTheyAreFew) {
    std::vector<Curve> curves;
    for (const char* name : {"a", "b", "c", "d", "e"}) curves.push_back({name, {1, 2}, {1, 2}, ""});
    const auto marks = [&] {
        const std::string text = svg_chart({"t", "", "x", Scale::linear, true, false, ""}, curves);
        // One in the legend and one at each point, a shape a curve; the fifth has the first one's again.
        EXPECT_EQ(count_of(text, "a4 4 0 1 0 8 0"), count_of(text, "h7.2v7.2") * 2);
        EXPECT_EQ(count_of(text, "l5.2 5.2l-5.2"), count_of(text, "l5.2 9h-10.4"));
        return count_of(text, "class=\"mark\"");
    };
    EXPECT_EQ(marks(), 5u * 3u);
    for (Curve& curve : curves) {
        curve.x.assign(1000, 1.0);
        curve.y.assign(1000, 1.0);
    }
    EXPECT_EQ(marks(), 0u);
}

TEST(HtmlPage, EscapesTexts) {
    EXPECT_EQ(escaped("<a href=\"x\">'&\n\x01é"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;  é");
    const std::string table = html_table({"<b>"}, {{"<i>", "&"}}, true);
    EXPECT_EQ(table.find("<i>"), std::string::npos);
    expect_balanced(table);
    expect_balanced(html_section("<h>", html_tiles({{"<1>", "<2>"}})));
    const std::string page = html_page("kind", "</title>", "");
    EXPECT_EQ(count_of(page, "</title>"), 1u);
    EXPECT_TRUE(page.starts_with(html_page_start("kind")));
}

}  // namespace
}  // namespace qstep

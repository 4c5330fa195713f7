#include "train/report/chart_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace qstep {

namespace {

constexpr double kLargest = 1e300;

double round_step(double range, int most, bool whole) {
    const double least = range / most;
    double power = std::pow(10.0, std::floor(std::log10(least)));
    if (whole) power = std::max(power, 1.0);
    for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
        const double step = factor * power;
        if (whole && step != std::floor(step)) continue;
        // A hair less than the step: rounding must not choose the next one.
        if (step >= least * (1.0 - 1e-9)) return step;
    }
    return 10.0 * power;
}

std::string superscript(int number) {
    static constexpr const char* kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    std::string out = number < 0 ? "⁻" : "";
    for (const char digit : std::to_string(std::abs(number))) out += kDigits[digit - '0'];
    return out;
}

}  // namespace

double Axis::at(double value) const {
    if (logarithmic) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
}

Axis tight_axis(double low, double high, int most, bool whole) {
    // Numbers of a file may be anything; beyond this the difference of two could overflow.
    low = std::clamp(low, -kLargest, kLargest);
    high = std::clamp(high, -kLargest, kLargest);
    const double magnitude = std::max(std::fabs(low), std::fabs(high));
    // Less could not be counted in steps.
    if (!(high - low > std::max(1e-9 * magnitude, 1.0 / kLargest))) {
        const double room = whole ? std::max(1.0, 1e-6 * magnitude) : std::max(0.1 * magnitude, 1e-6);
        low -= room;
        high += room;
    }
    Axis axis{low, high, false, {}};
    const double step = round_step(high - low, most, whole);
    for (double index = std::ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; ++index)
        axis.ticks.push_back(index * step);
    return axis;
}

Axis linear_axis(double low, double high, int most, bool whole) {
    Axis axis = tight_axis(low, high, most, whole);
    const double step = round_step(axis.high - axis.low, most, whole);
    const double first = std::floor(axis.low / step + 1e-9), last = std::ceil(axis.high / step - 1e-9);
    axis.low = first * step;
    axis.high = last * step;
    axis.ticks.clear();
    for (double index = first; index <= last; ++index) axis.ticks.push_back(index * step);
    return axis;
}

Axis log_axis(double low, double high, int most) {
    low = std::clamp(low, 1.0 / kLargest, kLargest);
    high = std::clamp(high, 1.0 / kLargest, kLargest);
    int first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
    int last = static_cast<int>(std::ceil(std::log10(high) - 1e-9));
    if (first == last) ++last;
    Axis axis{std::pow(10.0, first), std::pow(10.0, last), true, {}};
    const int stride = (last - first + most - 1) / most;
    for (int power = first; power <= last; ++power) {
        if ((power - first) % stride == 0) axis.ticks.push_back(std::pow(10.0, power));
        if (last - first > 2 || power == last) continue;
        for (const double factor : {2.0, 5.0}) axis.ticks.push_back(factor * std::pow(10.0, power));
    }
    return axis;
}

std::string tick_label(double value) {
    // What is left of a sum that should be 0.
    if (std::fabs(value) < 1e-12) return "0";
    const double magnitude = std::fabs(value);
    const std::string sign = value < 0 ? "−" : "";
    if (magnitude >= 1e-3 && magnitude < 1e5) {
        std::string digits = fmt::format("{:.6g}", magnitude);
        // Thousands apart, as in 10 000.
        if (const std::size_t point = std::min(digits.find('.'), digits.size()); point > 4)
            digits.insert(point - 3, "\u202f");
        return sign + digits;
    }
    int power = static_cast<int>(std::floor(std::log10(magnitude) + 1e-9));
    const std::string factor = fmt::format("{:.6g}", magnitude / std::pow(10.0, power));
    return sign + (factor == "1" ? "" : factor + "×") + "10" + superscript(power);
}

}  // namespace qstep

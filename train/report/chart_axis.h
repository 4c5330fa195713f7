// The axes of a chart: their range, their ticks and the ticks' labels.
#pragma once

#include <string>
#include <vector>

namespace qstep {

/// The range that is drawn, and where ticks stand in it.
struct Axis {
    double low = 0.0, high = 1.0;
    bool logarithmic = false;
    std::vector<double> ticks;  // rising, within low .. high

    /// Where a value stands: 0 at low, 1 at high; not limited to that.
    double at(double value) const;
};

/// Ticks at multiples of 1, 2, 2.5 or 5 times a power of ten (whole numbers alone where `whole`), at most
/// `most` + 1 of them, and at both ends. low <= high, both finite; where they are equal, room is made around
/// them.
Axis linear_axis(double low, double high, int most, bool whole);

/// The same without room beyond low and high; ticks only where they are due. For the horizontal axis.
Axis tight_axis(double low, double high, int most, bool whole);

/// Ticks at powers of ten, and at 2 and 5 times them where the range is short. 0 < low <= high.
Axis log_axis(double low, double high, int most);

/// "0.25", "12 000", "3×10⁻⁵": as short as it is exact to six digits.
std::string tick_label(double value);

}  // namespace qstep

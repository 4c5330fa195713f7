// Setters of program options: from the text of a value to the field of a struct. Each throws a usage error of
// one sentence that names the option.
#pragma once

#include <charconv>
#include <limits>
#include <string>

#include "engine/error.h"

namespace qstep {

/// The whole text as a number; false when it is anything else.
template <typename Number>
bool parse_number(const std::string& text, Number& value) {
    const char* end = text.data() + text.size();
    const auto [stopped, status] = std::from_chars(text.data(), end, value);
    return status == std::errc() && stopped == end;
}

/// A whole number from `least` to `most`.
template <typename Integer, typename Owner>
auto whole(std::string name, Integer Owner::*field, Integer least, Integer most) {
    return [=](Owner& owner, const std::string& text) {
        Integer value = 0;
        if (!parse_number(text, value) || value < least || value > most) {
            if (most == std::numeric_limits<Integer>::max())
                fail_usage("--{} takes a whole number of at least {}, not '{}'", name, least, text);
            fail_usage("--{} takes a whole number from {} to {}, not '{}'", name, least, most, text);
        }
        owner.*field = value;
    };
}

/// Whether the bound itself is outside or inside.
enum class Bound { open, closed };

/// A number between `least` and `most`.
template <typename Owner>
auto real(std::string name, double Owner::*field, double least, Bound least_bound, double most,
          Bound most_bound) {
    return [=](Owner& owner, const std::string& text) {
        double value = 0.0;
        const bool inside = parse_number(text, value) &&
                            (least_bound == Bound::open ? value > least : value >= least) &&
                            (most_bound == Bound::open ? value < most : value <= most);
        if (!inside)
            fail_usage("--{} takes a number {} {} and {} {}, not '{}'", name,
                       least_bound == Bound::open ? "above" : "of at least", least,
                       most_bound == Bound::open ? "below" : "at most", most, text);
        owner.*field = value;
    };
}

/// "true" or "false".
template <typename Owner>
auto flag_into(std::string name, bool Owner::*field) {
    return [=](Owner& owner, const std::string& text) {
        if (text != "true" && text != "false") fail_usage("--{} is a switch, not '{}'", name, text);
        owner.*field = text == "true";
    };
}

}  // namespace qstep

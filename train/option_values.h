// Setters and getters of the option table (OptionSpec::set, get) for common types of values. Setters throw a
// usage error that names the option.
#pragma once

#include <charconv>
#include <limits>
#include <string>

#include "engine/error.h"
#include "train/options.h"

namespace qstep {

/// The whole text as a number; false when it is anything else.
template <typename Number>
bool parse_number(const std::string& text, Number& value) {
    const char* end = text.data() + text.size();
    const auto [stopped, status] = std::from_chars(text.data(), end, value);
    return status == std::errc() && stopped == end && !text.empty();
}

/// A whole number from `least` to `most`.
template <typename Integer>
auto whole(std::string name, Integer Options::*field, Integer least, Integer most) {
    return [=](Options& options, const std::string& text) {
        Integer value = 0;
        if (!parse_number(text, value) || value < least || value > most) {
            if (most == std::numeric_limits<Integer>::max())
                fail_usage("--{} takes a whole number of at least {}, not '{}'", name, least, text);
            fail_usage("--{} takes a whole number from {} to {}, not '{}'", name, least, most, text);
        }
        options.*field = value;
    };
}

/// Whether the bound itself is outside or inside.
enum class Bound { open, closed };

inline auto real(std::string name, double Options::*field, double least, Bound least_bound, double most,
                 Bound most_bound) {
    return [=](Options& options, const std::string& text) {
        double value = 0.0;
        const bool inside = parse_number(text, value) &&
                            (least_bound == Bound::open ? value > least : value >= least) &&
                            (most_bound == Bound::open ? value < most : value <= most);
        if (!inside)
            fail_usage("--{} takes a number {} {} and {} {}, not '{}'", name,
                       least_bound == Bound::open ? "above" : "of at least", least,
                       most_bound == Bound::open ? "below" : "at most", most, text);
        options.*field = value;
    };
}

/// Any text in UTF-8 but an empty one.
inline auto text_into(std::string name, std::string Options::*field) {
    return [=](Options& options, const std::string& text) {
        if (text.empty()) fail_usage("--{} was given an empty text", name);
        try {
            nlohmann::ordered_json(text).dump();
        } catch (const nlohmann::ordered_json::exception&) {
            fail_usage("--{} takes text in UTF-8", name);
        }
        options.*field = text;
    };
}

inline auto flag_into(std::string name, bool Options::*field) {
    return [=](Options& options, const std::string& text) {
        if (text != "true" && text != "false") fail_usage("--{} is a switch, not '{}'", name, text);
        options.*field = text == "true";
    };
}

template <typename Field>
auto get_from(Field Options::*field) {
    return [field](const Options& options) { return nlohmann::ordered_json(options.*field); };
}

}  // namespace qstep

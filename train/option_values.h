// Getters of the option table, and the setters that engine/option_values.h leaves out (OptionSpec::get, set).
#pragma once

#include <string>

#include "engine/option_values.h"
#include "train/options.h"

namespace qstep {

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

/// The field as JSON.
template <typename Field>
auto get_from(Field Options::*field) {
    return [field](const Options& options) { return nlohmann::ordered_json(options.*field); };
}

}  // namespace qstep

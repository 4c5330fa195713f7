// The options of a gradient codec as a person types them: one table for every program that has codecs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "quant/codec.h"

namespace qstep {

/// An option's value with its type, for configurations in JSON.
using CodecOptionValue = std::variant<bool, std::int64_t, double, std::string>;

/// One field of CodecSettings. The seed has no entry: it belongs to a whole run.
struct CodecOption {
    std::string name;   // without dashes
    std::string alias;  // the original system's spelling; or empty
    std::string value;  // what stands for its value in the help; empty: a switch
    std::string help;
    /// Takes the text of the value ("true", "false" for a switch). Throws a usage error that names the
    /// option; what several options must agree on is left to validate().
    std::function<void(CodecSettings&, const std::string&)> set;
    std::function<CodecOptionValue(const CodecSettings&)> get;
    /// Configurations of before it existed lack it, and mean its default.
    bool newer = false;
    /// What it needs to say anything, as in "has no meaning without ...", and whether settings have that.
    const char* needs = "";
    bool (*has_meaning)(const CodecSettings&) = nullptr;
};

/// "quant" first.
const std::vector<CodecOption>& codec_options();

/// Throws a usage error when one of the names `given` is that of an option that says nothing about these
/// settings. Names that are not in the table are passed over.
void check_meaning(const std::vector<std::string>& given, const CodecSettings& settings);

/// The value as it would be typed.
std::string text_of(const CodecOptionValue& value);

}  // namespace qstep

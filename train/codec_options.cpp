#include "train/codec_options.h"

#include <algorithm>

#include "train/option_values.h"

namespace qstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned kTraining = kTrain | kResume | kDumpStep;

OptionSpec share(const char* name, const char* help, double CodecSettings::*field) {
    const auto set = [=](Options& options, const std::string& text) {
        double& value = options.codec.*field;
        if (!parse_number(text, value) || !(value >= 0.0 && value <= 1.0))
            fail_usage("--{} takes a number from 0 to 1, not '{}'", name, text);
    };
    const auto get = [=](const Options& options) { return Json(options.codec.*field); };
    return {name, "", "X", help, kTraining, AtResume::fixed, set, get};
}

// An option and what it goes with.
struct Owner {
    const char *option, *owner;
    bool (*goes_with)(const CodecSettings&);
};

const Owner kOwners[] = {
    {"ef-alpha", "--error-feedback", [](const CodecSettings& codec) { return codec.error_feedback; }},
    {"ef-beta", "--error-feedback", [](const CodecSettings& codec) { return codec.error_feedback; }},
};

}  // namespace

std::vector<OptionSpec> codec_options() {
    std::vector<OptionSpec> options{
        {"error-feedback", "", "", "add what rounding took away to later gradients, with any codec",
         kTraining, AtResume::fixed,
         [](Options& options, const std::string& text) { options.codec.error_feedback = text == "true"; },
         [](const Options& options) { return Json(options.codec.error_feedback); }},
        share("ef-alpha", "share of what was taken away that joins the gradient", &CodecSettings::ef_alpha),
        share("ef-beta", "share of what was taken away that lasts a step", &CodecSettings::ef_beta),
    };
    for (OptionSpec& option : options) option.newer = true;
    return options;
}

void check_goes_with(const std::string& option, const CodecSettings& codec) {
    const auto owner =
        std::ranges::find_if(kOwners, [&](const Owner& entry) { return option == entry.option; });
    if (owner != std::end(kOwners) && !owner->goes_with(codec))
        fail_usage("--{} has no meaning without {}", option, owner->owner);
}

}  // namespace qstep

#include "quant/codec_options.h"

#include <algorithm>

#include "engine/option_values.h"

namespace qstep {

namespace {

// Any whole number: the codec itself knows its limits and names them.
auto any_whole(std::string name, std::int64_t CodecSettings::*field) {
    return [=](CodecSettings& settings, const std::string& text) {
        if (!parse_number(text, settings.*field))
            fail_usage("--{} takes a whole number, not '{}'", name, text);
    };
}

template <typename Field>
auto value_of(Field CodecSettings::*field) {
    return [field](const CodecSettings& settings) { return CodecOptionValue(settings.*field); };
}

template <typename Enum>
auto name_in(Enum CodecSettings::*field) {
    return [field](const CodecSettings& settings) {
        return CodecOptionValue(std::string(name_of(settings.*field)));
    };
}

CodecOption bits_of_fixed(const char* name, const char* help, std::int64_t CodecSettings::*field) {
    return {name,
            "",
            "BITS",
            help,
            any_whole(name, field),
            value_of(field),
            true,
            "--quant fixed",
            [](const CodecSettings& settings) { return settings.kind == CodecKind::fixed; }};
}

CodecOption share_of_residual(const char* name, const char* help, double CodecSettings::*field) {
    return {name,
            "",
            "X",
            help,
            real(name, field, 0.0, Bound::closed, 1.0, Bound::closed),
            value_of(field),
            true,
            "--error-feedback",
            [](const CodecSettings& settings) { return settings.error_feedback; }};
}

}  // namespace

const std::vector<CodecOption>& codec_options() {
    static const std::vector<CodecOption> kTable{
        {"quant", "quantization-type", "CODEC",
         fmt::format("gradient codec: {}", fmt::join(codec_names(), ", ")),
         [](CodecSettings& settings, const std::string& text) { settings.kind = parse_codec(text); },
         name_in(&CodecSettings::kind)},
        {"levels", "quantization-level", "K", "points a bucket is rounded to",
         any_whole("levels", &CodecSettings::levels), value_of(&CodecSettings::levels), false,
         "a codec that has a choice of levels",
         [](const CodecSettings& settings) {
             return settings.kind == CodecKind::none || takes_levels(settings.kind);
         }},
        {"bucket-size", "", "N", "consecutive elements that share their points; -1: all of them",
         any_whole("bucket-size", &CodecSettings::bucket_size), value_of(&CodecSettings::bucket_size)},
        {"rounding", "", "MODE", "stochastic (unbiased) or nearest",
         [](CodecSettings& settings, const std::string& text) { settings.rounding = parse_rounding(text); },
         name_in(&CodecSettings::rounding), false, "a codec that draws",
         [](const CodecSettings& settings) { return settings.kind != CodecKind::sign; }},
        {"solver", "", "NAME",
         "where smart's points come from: a sample of the bucket, exact (all of it) or a histogram of it",
         [](CodecSettings& settings, const std::string& text) { settings.solver = parse_solver(text); },
         name_in(&CodecSettings::solver), true, "--quant smart",
         [](const CodecSettings& settings) { return settings.kind == CodecKind::smart; }},
        {"smart-candidates", "", "PERCENT",
         "share of a bucket that smart's solver sample looks at, at least 512 elements",
         real("smart-candidates", &CodecSettings::smart_candidates_percent, 0.0, Bound::open, 100.0,
              Bound::closed),
         value_of(&CodecSettings::smart_candidates_percent), false, "--quant smart and its solver sample",
         [](const CodecSettings& settings) {
             return settings.kind == CodecKind::smart && settings.solver == Solver::sample;
         }},
        {"points", "", "PLACES", "where standard has its points: even or random",
         [](CodecSettings& settings, const std::string& text) { settings.points = parse_points(text); },
         name_in(&CodecSettings::points), true, "--quant standard",
         [](const CodecSettings& settings) { return settings.kind == CodecKind::standard; }},
        {"qsgd-norm", "", "NORM", "what qsgd divides a bucket by: l2 or max",
         [](CodecSettings& settings, const std::string& text) { settings.qsgd_norm = parse_norm(text); },
         name_in(&CodecSettings::qsgd_norm), true, "--quant qsgd",
         [](const CodecSettings& settings) { return settings.kind == CodecKind::qsgd; }},
        bits_of_fixed("fixed-il", "integer bits of fixed, the sign's among them", &CodecSettings::fixed_il),
        bits_of_fixed("fixed-fl", "fraction bits of fixed", &CodecSettings::fixed_fl),
        {"error-feedback", "", "", "add what rounding took away to later gradients, with any codec",
         flag_into("error-feedback", &CodecSettings::error_feedback),
         value_of(&CodecSettings::error_feedback), true},
        share_of_residual("ef-alpha", "share of what was taken away that joins a gradient",
                          &CodecSettings::ef_alpha),
        share_of_residual("ef-beta", "share of what was taken away that lasts from step to step",
                          &CodecSettings::ef_beta),
    };
    return kTable;
}

void check_meaning(const std::vector<std::string>& given, const CodecSettings& settings) {
    for (const CodecOption& option : codec_options())
        if (option.has_meaning && !option.has_meaning(settings) &&
            std::ranges::find(given, option.name) != given.end())
            fail_usage("--{} has no meaning without {}{}", option.name, option.needs,
                       std::string_view(option.needs).starts_with("--")
                           ? ""
                           : fmt::format("; {} is none", name_of(settings.kind)));
}

std::string text_of(const CodecOptionValue& value) {
    return std::visit([](const auto& held) { return fmt::format("{}", held); }, value);
}

}  // namespace qstep

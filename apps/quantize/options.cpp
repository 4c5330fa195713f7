#include "apps/quantize/options.h"

#include <filesystem>
#include <limits>

#include "engine/arguments.h"
#include "engine/device.h"
#include "engine/option_values.h"
#include "quant/codec_options.h"

namespace qstep {

namespace {

constexpr const char* kPurpose =
    "Quantizes an array as a gradient codec would in training, and says what that costs. IN.npy holds "
    "float32 "
    "in C order; OUT.npy gets what the array became, in the same shape.";

std::vector<ProgramOption> option_table(QuantizeOptions& options) {
    constexpr std::int64_t kMostThreads = 1024;
    const auto into = [&options](auto setter) {
        return [&options, setter](const std::string& text) { setter(options, text); };
    };
    const auto text_into = [&options](std::string QuantizeOptions::*field) {
        return [&options, field](const std::string& text) {
            if (text.empty()) fail_usage("the name of a file or device is empty");
            options.*field = text;
        };
    };
    std::vector<ProgramOption> table;
    for (const CodecOption& option : codec_options())
        table.push_back({option.name, option.alias, option.value, option.help,
                         option.value.empty() ? "" : text_of(option.get(CodecSettings{})),
                         [&options, &option](const std::string& text) { option.set(options.codec, text); }});
    const auto seed =
        whole<std::uint64_t>("seed", &CodecSettings::seed, 0, std::numeric_limits<std::uint64_t>::max());
    table.insert(
        table.end(),
        {{"seed", "", "N", "of the random numbers that rounding takes", "0",
          [&options, seed](const std::string& text) { seed(options.codec, text); }},
         {"steps-along-first-axis", "", "",
          "the array is a row of gradients, one a step: each is quantized by itself, with its index as the "
          "number of the step",
          "", into(flag_into("steps-along-first-axis", &QuantizeOptions::steps_along_first_axis))},
         {"device", "", "NAME", "auto, cpu, cuda or cuda:N", options.device,
          text_into(&QuantizeOptions::device)},
         {"threads", "", "N", "CPU threads; 0: all; the result does not depend on them", "0",
          into(whole<std::int64_t>("threads", &QuantizeOptions::threads, 0, kMostThreads))},
         {"codes", "", "FILE", "also write the packed codes with their headers", "",
          text_into(&QuantizeOptions::codes)},
         {"entropy-coding", "", "", "write --codes entropy-coded where that is shorter", "",
          into(flag_into("entropy-coding", &QuantizeOptions::entropy_coding))},
         {"decode", "", "FILE",
          "instead, write what a file of --codes stands for to OUT.npy, the only file named then; as one "
          "axis, "
          "for the codes know no shape",
          "", text_into(&QuantizeOptions::decode)},
         {"json", "", "FILE", "write what is printed as JSON too", "", text_into(&QuantizeOptions::json)}});
    return table;
}

bool same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
    std::error_code ignored;
    const auto canonical = [&](const auto& path) {
        return weakly_canonical(absolute(path, ignored), ignored);
    };
    return equivalent(a, b, ignored) || canonical(a) == canonical(b);
}

void check_files(const QuantizeOptions& options) {
    const std::vector<std::pair<const char*, std::string>> outputs{
        {"OUT.npy", options.output}, {"--codes", options.codes}, {"--json", options.json}};
    const std::string& input = options.decode.empty() ? options.input : options.decode;
    if (input.empty() || options.output.empty()) fail_usage("the name of a file is empty");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        const auto& [name, path] = outputs[i];
        if (path.empty()) continue;
        // AtomicFile writes to the second.
        if (same_file(path, input) || same_file(path + ".tmp", input))
            fail_usage("{} would replace the input {}", name, input);
        for (std::size_t j = 0; j < i; ++j)
            if (!outputs[j].second.empty() && same_file(path, outputs[j].second))
                fail_usage("{} and {} are the same file, {}", outputs[j].first, name, path);
    }
}

void check_codec(const ProgramArguments& arguments, const QuantizeOptions& options) {
    if (!arguments.has("quant")) fail_usage("--quant is missing: {}", fmt::join(codec_names(), ", "));
    validate(options.codec);
    check_meaning(arguments.given, options.codec);
    if (options.codec.error_feedback && !options.steps_along_first_axis)
        fail_usage(
            "--error-feedback carries an error from one step to the next, and one array is one step; with "
            "--steps-along-first-axis the array is a row of steps");
    if (!options.codes.empty() && options.steps_along_first_axis)
        fail_usage("--codes holds one gradient; it does not go with --steps-along-first-axis");
    if (options.codes.empty() && options.entropy_coding)
        fail_usage("--entropy-coding has no meaning without --codes");
}

void check_decoding(const ProgramArguments& arguments) {
    for (const std::string& name : arguments.given)
        if (name != "decode" && name != "threads")
            fail_usage("--{} has no meaning with --decode: the codes tell how they are to be read", name);
    if (arguments.files.size() != 1)
        fail_usage("--decode FILE takes one file more, OUT.npy; {} are given", arguments.files.size());
}

}  // namespace

QuantizeOptions parse_quantize_options(const std::vector<std::string>& arguments) {
    QuantizeOptions options;
    const ProgramArguments parsed =
        parse_arguments("quantize IN.npy OUT.npy", kPurpose, option_table(options), 2, arguments);
    options.help = parsed.help;
    if (!options.help.empty()) return options;
    if (parsed.has("decode")) {
        check_decoding(parsed);
    } else {
        if (parsed.files.size() != 2)
            fail_usage("two files are needed, IN.npy and OUT.npy; --help lists the options");
        options.input = parsed.files[0];
        parse_device(options.device);
        check_codec(parsed, options);
    }
    options.output = parsed.files.back();
    check_files(options);
    return options;
}

}  // namespace qstep

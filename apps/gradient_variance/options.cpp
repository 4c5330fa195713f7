#include "apps/gradient_variance/options.h"

#include <algorithm>
#include <set>
#include <span>

#include "engine/arguments.h"
#include "engine/error.h"
#include "engine/option_values.h"
#include "quant/codec_options.h"

namespace qstep {

namespace {

constexpr const char* kPurpose =
    "Trains with the unquantized gradient and measures, at every step, the variance that each gradient codec "
    "would have added to it: the sum of (x-l)(r-x) over all elements x between their neighbours l and r.";

// The study's own default: six buckets of ResNet-20.
constexpr std::int64_t kBucketSize = 51200;

struct DefaultCodec {
    const char *label, *text;
    std::optional<double> published;
};
constexpr DefaultCodec kDefaultCodecs[]{
    {"standard", "standard", 1.044},
    {"exponential", "exponential", 0.049},
    {"smart 1 %", "smart:smart-candidates=1", 0.18},
    {"smart 5 %", "smart:smart-candidates=5", 0.069},
    {"smart 15 %", "smart:smart-candidates=15", 0.036},
    {"smart 25 %", "smart:smart-candidates=25", 0.03},
    {"smart exact", "smart:solver=exact", {}},
    {"smart histogram", "smart:solver=histogram", {}},
    {"hadamard", "hadamard", {}},
};

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(separator, begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

// Returns the option's name.
std::string set_codec_option(CodecSettings& settings, const std::string& assignment) {
    const std::size_t equals = assignment.find('=');
    const std::string name = assignment.substr(0, equals);
    const auto option = std::ranges::find(codec_options(), name, &CodecOption::name);
    if (option == codec_options().end() || name == "quant")
        fail_usage("--codecs: a codec has no option '{}'", name);
    if (option->value.empty() != (equals == std::string::npos))
        fail_usage("--codecs: '{}' {}", name,
                   option->value.empty() ? "is a switch and takes no value" : "needs a value");
    option->set(settings, option->value.empty() ? "true" : assignment.substr(equals + 1));
    return name;
}

// NAME[:OPTION=VALUE]..., over the settings that all codecs share.
CodecSettings parse_studied(const std::string& text, CodecSettings settings) {
    const std::vector<std::string> parts = split(text, ':');
    settings.kind = parse_codec(parts.front());
    std::vector<std::string> given;
    for (const std::string& assignment : std::span(parts).subspan(1))
        given.push_back(set_codec_option(settings, assignment));
    if (settings.error_feedback)
        fail_usage(
            "--codecs: error feedback changes what is rounded; its variance is not that of the gradient");
    validate(settings);
    check_meaning(given, settings);
    return settings;
}

// Whether the run is the published study's, but for its seed, length, data set and precision: ResNet-20 with
// the original's batch size and learning rate, which are the defaults.
bool is_published_study(const VarianceOptions& options, const CodecSettings& shared) {
    const Options original;
    return shared.bucket_size == kBucketSize && shared.levels == CodecSettings{}.levels &&
           options.run.model == original.model && options.run.batch_size == original.batch_size &&
           options.run.lr == original.lr;
}

std::vector<StudiedCodec> parse_codecs(const std::string& text, const CodecSettings& shared,
                                       bool as_published) {
    std::vector<StudiedCodec> codecs;
    if (text.empty())
        for (const DefaultCodec& codec : kDefaultCodecs)
            codecs.push_back({codec.label, parse_studied(codec.text, shared),
                              as_published ? codec.published : std::nullopt});
    else
        for (const std::string& codec : split(text, ','))
            codecs.push_back({codec, parse_studied(codec, shared)});
    std::set<std::string> labels;
    for (const StudiedCodec& codec : codecs)
        if (!labels.insert(codec.label).second) fail_usage("--codecs names '{}' twice", codec.label);
    return codecs;
}

// The options of cifar_train that mean the same here.
void add_training_options(std::vector<ProgramOption>& table, Options& options) {
    for (const char* name : {"data", "model", "batch-size", "lr", "seed", "device", "precision",
                             "deterministic", "threads", "output"}) {
        const OptionSpec& spec = *std::ranges::find(option_table(), name, &OptionSpec::name);
        table.push_back({spec.name, spec.alias, spec.value, spec.help,
                         spec.value.empty() ? "" : as_text(spec.get(Options{})),
                         [&options, &spec](const std::string& text) { spec.set(options, text); }});
    }
}

void add_codec_options(std::vector<ProgramOption>& table, CodecSettings& shared) {
    for (const char* name : {"levels", "bucket-size"}) {
        const CodecOption& option = *std::ranges::find(codec_options(), name, &CodecOption::name);
        table.push_back({option.name, option.alias, option.value, option.help, text_of(option.get(shared)),
                         [&shared, &option](const std::string& text) { option.set(shared, text); }});
    }
}

}  // namespace

VarianceOptions parse_variance_options(const std::vector<std::string>& arguments) {
    VarianceOptions options;
    CodecSettings shared;
    shared.bucket_size = kBucketSize;
    std::string codecs;
    std::vector<ProgramOption> table{
        {"steps", "", "N", "steps of training, all of them measured", "200",
         [&](const std::string& text) {
             whole<std::int64_t>("steps", &VarianceOptions::steps, 1, 1000000)(options, text);
         }},
        {"codecs", "", "C,C,..",
         "codecs to measure, each NAME[:OPTION=VALUE].. with the options of a codec, as in "
         "standard,smart:smart-candidates=5,exponential:levels=8; else those of the published study and more",
         "", [&](const std::string& text) {
             if (text.empty()) fail_usage("--codecs was given an empty text");
             codecs = text;
         }}};
    add_codec_options(table, shared);
    add_training_options(table, options.run);
    options.help = parse_arguments("gradient_variance", kPurpose, table, 0, arguments).help;
    if (options.help.empty())
        options.codecs = parse_codecs(codecs, shared, is_published_study(options, shared));
    return options;
}

}  // namespace qstep

#include "train/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "engine/device.h"
#include "engine/error.h"
#include "engine/suggest.h"
#include "train/codec_options.h"

namespace qstep {

namespace {

const OptionSpec& spec_of(const std::string& name) {
    return *std::ranges::find(option_table(), name, &OptionSpec::name);
}

[[noreturn]] void fail_unknown(const std::string& argument) {
    if (!argument.starts_with("--"))
        fail_usage("unexpected argument '{}'; --help lists the options", argument);
    const std::string name = argument.substr(2, argument.find('=') - 2);
    std::vector<std::string_view> valid{"help"};
    for (const OptionSpec& spec : option_table()) {
        valid.push_back(spec.name);
        if (!spec.alias.empty()) valid.push_back(spec.alias);
    }
    fail_usage("unknown option --{}; did you mean --{}?", name, nearest_name(name, valid));
}

void check_job(const CommandLine& line) {
    const Options& options = line.options;
    if (!options.eval.empty() && !options.resume.empty())
        fail_usage("--eval and --resume contradict each other: evaluate a checkpoint or continue from it");
    if (!options.dump_step.empty() && !(options.eval.empty() && options.resume.empty()))
        fail_usage("--dump-step begins a run of its own; it goes with neither --resume nor --eval");
    const unsigned job = line.job();
    const char* reason = job == kEvaluate   ? "--eval, which trains nothing"
                         : job == kDumpStep ? "--dump-step, which writes nothing but the dump"
                                            : "--resume, which continues in the checkpoint's folder";
    for (const std::string& name : line.given)
        if ((spec_of(name).jobs & job) == 0) fail_usage("--{} has no meaning with {}", name, reason);
}

void check_consistency(CommandLine& line) {
    Options& options = line.options;
    const bool quantizes = options.codec.kind != CodecKind::none;
    if (line.has("optimizer") && options.optimizer == "standard" && quantizes)
        fail_usage("--optimizer standard is plain SGD; --quant {} needs --optimizer quantization",
                   name_of(options.codec.kind));
    if (line.has("optimizer") && options.optimizer == "quantization" && !line.has("quant"))
        fail_usage("--optimizer quantization needs --quant: none, standard, smart, hadamard or exponential");
    if (quantizes) options.optimizer = "quantization";
    if (line.has("milestones") && options.lr_schedule != ScheduleKind::multistep)
        fail_usage("--milestones belong to --lr-schedule multistep, not to {}",
                   to_string(options.lr_schedule));
    const Device device = parse_device(options.device);
    if (options.no_cuda && line.has("device") && options.device != "cpu")
        fail_usage("--no-cuda and --device {} contradict each other", options.device);
    if (options.no_cuda) {
        options.device = "cpu";
        if (!line.has("device")) line.given.push_back("device");
    }
    if (options.tf32 && (options.no_cuda || device.kind == DeviceKind::cpu))
        fail_usage("--precision tf32 is for GPUs; on the CPU use fp32 or bf16");
    validate(options.codec);
    for (const std::string& name : line.given) check_goes_with(name, options.codec);
}

// Lays what was given over the stored options.
Options overlay(const CommandLine& line, const nlohmann::ordered_json& stored) {
    Options options = line.options;
    from_json(options, stored);
    for (const std::string& name : line.given) {
        const OptionSpec& spec = spec_of(name);
        if (spec.get) spec.set(options, as_text(spec.get(line.options)));
    }
    return options;
}

bool needs_quotes(const std::string& text) {
    return text.empty() || !std::ranges::all_of(text, [](unsigned char c) {
               return std::isalnum(c) ||
                      std::string_view("-_./=,:+@%").find(static_cast<char>(c)) != std::string_view::npos;
           });
}

std::string quoted(const std::string& text) {
    if (!needs_quotes(text)) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

// CLI11 takes whatever follows an option for its value, and whatever follows a switch's "=" for a number.
void check_values(const std::vector<std::string>& arguments) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (!argument.starts_with("--")) continue;
        const std::size_t equals = argument.find('=');
        const std::string name = argument.substr(2, equals - 2);
        const auto spec = std::ranges::find_if(option_table(), [&](const OptionSpec& candidate) {
            return name == candidate.name || (name == candidate.alias && !name.empty());
        });
        if (spec == option_table().end()) continue;
        if (spec->value.empty() && equals != std::string::npos)
            fail_usage("--{} is a switch and takes no value", name);
        if (spec->value.empty() || equals != std::string::npos) continue;
        if (i + 1 == arguments.size()) fail_usage("--{} needs a value", name);
        if (arguments[i + 1].starts_with("--"))
            fail_usage("--{} needs a value, and {} is an option", name, arguments[i + 1]);
        ++i;
    }
}

void add_option(CLI::App& app, const OptionSpec& spec, CommandLine& line) {
    const std::string names = "--" + spec.name + (spec.alias.empty() ? "" : ",--" + spec.alias);
    const auto take = [&line, &spec](const std::string& text) {
        spec.set(line.options, text);
        if (!line.has(spec.name)) line.given.push_back(spec.name);
    };
    if (spec.value.empty()) {
        app.add_flag_function(
               names, [take](std::int64_t count) { take(count > 0 ? "true" : "false"); }, spec.help)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        return;
    }
    const std::string initial = spec.get ? as_text(spec.get(Options{})) : "";
    app.add_option_function<std::string>(names, take,
                                         spec.help + (initial.empty() ? "" : " [" + initial + "]"))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->type_name(spec.value);
}

}  // namespace

bool CommandLine::has(const std::string& name) const {
    return std::ranges::find(given, name) != given.end();
}

Job CommandLine::job() const {
    if (!options.eval.empty()) return kEvaluate;
    if (!options.dump_step.empty()) return kDumpStep;
    return options.resume.empty() ? kTrain : kResume;
}

CommandLine parse_command_line(const std::vector<std::string>& arguments) {
    CommandLine line;
    CLI::App app("Trains a CIFAR-10 network while its gradient is quantized in every step.", "cifar_train");
    app.set_help_flag("-h,--help", "print this text");
    app.get_formatter()->column_width(34);
    app.allow_extras();
    for (const OptionSpec& spec : option_table()) add_option(app, spec, line);
    check_values(arguments);
    try {
        // CLI11 takes its arguments from the back.
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp&) {
        line.help = app.help();
        return line;
    } catch (const CLI::ParseError& error) {
        fail_usage("{}", error.what());
    }
    if (const auto extra = app.remaining(); !extra.empty()) fail_unknown(extra.front());
    if (line.job() == kDumpStep && line.options.max_steps == 0) line.options.max_steps = 1;
    check_job(line);
    // What --resume and --eval leave out comes from the checkpoint; they are checked once it is read.
    if (line.job() == kTrain || line.job() == kDumpStep) check_consistency(line);
    return line;
}

Options options_for_resume(const CommandLine& command_line, const nlohmann::ordered_json& stored) {
    CommandLine merged{overlay(command_line, stored), command_line.given, ""};
    const auto values = to_json(merged.options, Selection::stored);
    for (const std::string& name : command_line.given) {
        const OptionSpec& spec = spec_of(name);
        // What is stored in fp32 and tf32 is the same, and only a GPU can go on in tf32.
        if (name == "precision" && merged.options.precision == DType::f32 && stored.at(name) != "bf16")
            continue;
        if (spec.at_resume == AtResume::fixed && values.at(name) != stored.at(name))
            fail_usage("the checkpoint was made with --{} {}; a resumed run cannot change it to {}", name,
                       as_text(stored.at(name)), as_text(values.at(name)));
    }
    if (merged.options.lr_schedule != ScheduleKind::multistep && values.at("epochs") != stored.at("epochs"))
        fail_usage("the {} schedule was laid out for {} epochs; a resumed run cannot change that",
                   to_string(merged.options.lr_schedule), as_text(stored.at("epochs")));
    merged.given.push_back("quant");
    check_consistency(merged);
    return merged.options;
}

Options options_for_evaluation(const CommandLine& command_line, const nlohmann::ordered_json& stored) {
    CommandLine merged{overlay(command_line, stored), command_line.given, ""};
    if (const std::string model = as_text(stored.at("model")); merged.options.model != model)
        fail_usage("{} is a checkpoint of {}, not of {}", command_line.options.eval, model,
                   merged.options.model);
    check_consistency(merged);
    return merged.options;
}

std::string resume_command(const std::string& program, const CommandLine& command_line,
                           const std::string& checkpoint) {
    std::string command = quoted(program) + " --resume " + quoted(checkpoint);
    for (const std::string& name : command_line.given) {
        const OptionSpec& spec = spec_of(name);
        if (spec.at_resume != AtResume::per_call || (spec.jobs & kResume) == 0 || !spec.get) continue;
        command += " --" + name;
        if (!spec.value.empty()) command += " " + quoted(as_text(spec.get(command_line.options)));
    }
    return command;
}

}  // namespace qstep

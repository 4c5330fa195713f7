#include "train/command_line.h"

#include <algorithm>

#include "engine/arguments.h"
#include "engine/device.h"
#include "engine/error.h"
#include "quant/codec_options.h"

namespace qstep {

namespace {

const OptionSpec& spec_of(const std::string& name) {
    return *std::ranges::find(option_table(), name, &OptionSpec::name);
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
        fail_usage("--optimizer quantization needs --quant: {}", fmt::join(codec_names(), ", "));
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
    if (line.has("nesterov") && options.nesterov && options.momentum == 0.0)
        fail_usage("--nesterov is a form of momentum; it has no meaning with --momentum 0");
    if (line.has("histogram-interval") && !options.tensorboard)
        fail_usage("--histogram-interval has no meaning without --tensorboard");
    validate(options.codec);
    check_meaning(line.given, options.codec);
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

std::vector<ProgramOption> program_options(Options& options) {
    std::vector<ProgramOption> list;
    for (const OptionSpec& spec : option_table())
        list.push_back({spec.name, spec.alias, spec.value, spec.help,
                        spec.get && !spec.value.empty() ? as_text(spec.get(Options{})) : "",
                        [&options, &spec](const std::string& text) { spec.set(options, text); }});
    return list;
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
    ProgramArguments parsed = parse_arguments(
        "cifar_train",
        "Trains a CIFAR-10 network while its gradient is quantized in every step.\n"
        "`cifar_train compare DIR...` puts runs side by side in one page; see cifar_train compare --help.",
        program_options(line.options), 0, arguments);
    line.given = std::move(parsed.given);
    line.help = std::move(parsed.help);
    if (!line.help.empty()) return line;
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
        command += " --";
        command += name;
        if (spec.value.empty()) continue;
        command += " ";
        command += quoted(as_text(spec.get(command_line.options)));
    }
    return command;
}

}  // namespace qstep

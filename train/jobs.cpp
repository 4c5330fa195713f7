#include "train/jobs.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <cmath>
#include <optional>

#include "data/source.h"
#include "engine/atomic_file.h"
#include "engine/backend.h"
#include "engine/error.h"
#include "train/checkpoint.h"
#include "train/dump_step.h"
#include "train/trainer.h"

namespace qstep {

namespace {

using Json = nlohmann::ordered_json;

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;  // begins with its name
#else
constexpr const char* kCompiler = "gcc " __VERSION__;
#endif

Numerics numerics(const Options& options) {
    return {options.deterministic, options.tf32};
}

// Device and thread count as they are used, so that files and messages name what was.
void settle_device(Options& options, const Context& context) {
    options.device = to_string(context.device());
    options.threads = context.threads();
}

// The options then name the data that were found, so that a resumed run cannot take others for them.
DataSplits load_data(Options& options) {
    DataSource source = open_data(options.data);
    options.data = source.name;
    for (const std::string& note : source.notes) say(note + "\n");
    return std::move(source.splits);
}

std::string system_description() {
    utsname names{};
    uname(&names);  // fails for a bad pointer alone
    return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

Json run_description(const Options& options, const DataSplits& data, Session& session) {
    const double bits = session.optimizer().bits_per_element();
    return {
        {"options", to_json(options, Selection::all)},
        {"parameters", session.parameters().parameter_count()},
        {"bits_per_element", std::round(bits * 1000.0) / 1000.0},
        {"data",
         {{"train", data.train.name},
          {"train_images", data.train.count()},
          {"test", data.test.name},
          {"test_images", data.test.count()}}},
        {"device_description", backend(parse_device(options.device)).description()},
        {"versions", {{"qstep", QSTEP_VERSION}, {"compiler", kCompiler}, {"system", system_description()}}}};
}

void check_something_left(const Options& options, const Progress& progress) {
    if (progress.epoch >= options.epochs)
        fail_usage("{} already holds all {} epochs; {}", options.resume, options.epochs,
                   options.lr_schedule == ScheduleKind::multistep
                       ? "a larger --epochs continues it"
                       : "its schedule ends there, so there is nothing to continue");
}

int report_end(Trainer& trainer, RunEnd end, const StopSignals& signals, const RunFolder& folder,
               const CommandLine& command_line, const std::string& program) {
    if (end == RunEnd::stopped_by_signal) {
        say(fmt::format("\nstopped after step {}; to continue:\n  {}\n", trainer.progress().step,
                        resume_command(program, command_line, folder.checkpoint().string())));
        trainer.write_report();
        return 128 + signals.received();
    }
    trainer.print_results(signals);
    trainer.write_report();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    say(fmt::format("\npeak memory {} MiB\n", usage.ru_maxrss / 1024));
    say(fmt::format("written: {}\n         {}\n", folder.checkpoint().string(),
                    folder.configuration().string()));
    say(fmt::format("         {}\n", folder.report().string()));
    // A run of less than an epoch has no line to write.
    if (trainer.progress().last) say(fmt::format("         {}\n", folder.metrics().string()));
    if (command_line.options.save_model) say(fmt::format("         {}\n", folder.model().string()));
    return signals.received() == 0 ? 0 : 128 + signals.received();
}

RunEnd run_to_its_end(Trainer& trainer, const StopSignals& signals) {
    try {
        return trainer.run(signals);
    } catch (const std::exception& error) {
        trainer.write_report_of_failure(error.what());
        throw;
    }
}

// A copy of an older state must not replace a newer one that lies beside it.
void check_nothing_newer(const RunFolder& folder, const std::string& resumed, const Progress& progress) {
    std::error_code error;
    if (!std::filesystem::exists(folder.checkpoint(), error) ||
        std::filesystem::equivalent(resumed, folder.checkpoint(), error))
        return;
    std::optional<Checkpoint> beside;
    try {
        beside.emplace(folder.checkpoint());
    } catch (const Error&) {
        return;  // what cannot be read is nothing to lose
    }
    if (beside->progress().step > progress.step)
        fail_usage(
            "{} is at step {}, but {} beside it is at step {} and would be replaced; move one of them to "
            "a folder of its own",
            resumed, progress.step, folder.checkpoint().string(), beside->progress().step);
}

void check_is_no_folder(const std::string& checkpoint) {
    const RunFolder folder{checkpoint};
    std::error_code error;
    if (std::filesystem::is_regular_file(folder.checkpoint(), error))
        fail_usage("{} is a folder; the checkpoint in it is {}", checkpoint, folder.checkpoint().string());
}

int train(const CommandLine& command_line, const std::string& program) {
    Options options = command_line.options;
    std::optional<Checkpoint> checkpoint;
    RunFolder folder;
    if (command_line.job() == kResume) {
        check_is_no_folder(options.resume);
        folder = folder_of_checkpoint(options.resume);
        checkpoint.emplace(options.resume);
        if (!checkpoint->can_resume())
            fail_run("{} holds weights alone; only a checkpoint can be resumed", options.resume);
        options = options_for_resume(command_line, checkpoint->configuration());
        check_something_left(options, checkpoint->progress());
        check_nothing_newer(folder, options.resume, checkpoint->progress());
    }
    const StopSignals signals;
    Context context(parse_device(options.device), static_cast<int>(options.threads), numerics(options));
    context.set_eager(options.no_graph);
    settle_device(options, context);
    const DataSplits data = load_data(options);
    Session session(context, session_settings(options, data));
    if (checkpoint) checkpoint->load(context, session.parameters(), true);

    if (!checkpoint)
        folder = make_run_folder(options.output, options.model + "-" + name_of(options.codec.kind));
    options.output = folder.path.string();
    Trainer trainer(session, make_feed(session, data), data, options, folder,
                    checkpoint ? checkpoint->progress() : Progress{});
    const Json description = run_description(options, data, session);
    say(fmt::format("{}, {} parameters, {:.0f} MiB of device memory\n", options.model,
                    session.parameters().parameter_count(),
                    static_cast<double>(session.memory()) / (1 << 20)));
    say(fmt::format("{}\n", description["device_description"].get<std::string>()));
    print_configuration(description["options"]);
    if (context.device().kind == DeviceKind::cuda && !options.deterministic)
        say("not deterministic: convolutions, cuDNN's or own ones as timing has it; --deterministic takes "
            "those that "
            "are\n");
    write_text_file(folder.configuration(), description.dump(2) + "\n");
    const RunEnd end = run_to_its_end(trainer, signals);
    return report_end(trainer, end, signals, folder, command_line, program);
}

int evaluate_checkpoint(const CommandLine& command_line) {
    check_is_no_folder(command_line.options.eval);
    const Checkpoint checkpoint(command_line.options.eval);
    Options options = options_for_evaluation(command_line, checkpoint.configuration());
    Context context(parse_device(options.device), static_cast<int>(options.threads), numerics(options));
    context.set_eager(options.no_graph);
    const DataSplits data = load_data(options);
    SessionSettings settings = session_settings(options, data);
    settings.train_batch = 0;
    Session session(context, settings);
    checkpoint.load(context, session.parameters(), false);
    const auto feed = make_feed(session, data);
    bool complete = false;
    const Evaluation test = evaluate(session, *feed, nullptr, complete);
    say(fmt::format("{}: test loss {:.4f}, test accuracy {:.2f} %\n", options.eval, test.loss,
                    test.accuracy));
    return 0;
}

// Nothing but an older dump may be replaced by one.
void check_dump_replaces_no_other_file(const std::string& path) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return;
    try {
        if (SafetensorsFile(path).metadata().at("format") == kStepFormat) return;
    } catch (const std::exception&) {
        // Not even a safetensors file, or one of somebody else.
    }
    fail_usage("{} exists and is no step dump; choose another --dump-step", path);
}

int dump(const CommandLine& command_line) {
    Options options = command_line.options;
    check_dump_replaces_no_other_file(options.dump_step);
    // Opens and removes the temporary file: what cannot be written is better known before the steps.
    AtomicFile{options.dump_step};
    Context context(parse_device(options.device), static_cast<int>(options.threads), numerics(options));
    context.set_eager(options.no_graph);
    settle_device(options, context);
    const DataSplits data = load_data(options);
    SessionSettings settings = session_settings(options, data);
    settings.test_batch = 0;
    settings.dropout = false;
    settings.keep_quantized = true;
    Session session(context, settings);
    dump_step(options.dump_step, session, data, options);
    say(fmt::format("step {} written to {}\n", options.max_steps, options.dump_step));
    return 0;
}

}  // namespace

int run_job(const CommandLine& command_line, const std::string& program) {
    switch (command_line.job()) {
        case kEvaluate:
            return evaluate_checkpoint(command_line);
        case kDumpStep:
            return dump(command_line);
        default:
            return train(command_line, program);
    }
}

}  // namespace qstep

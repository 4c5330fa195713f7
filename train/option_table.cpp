#include <algorithm>
#include <limits>

#include "engine/error.h"
#include "layers/model.h"
#include "quant/codec_options.h"
#include "train/option_values.h"

namespace qstep {

namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned kTraining = kTrain | kResume | kDumpStep;
constexpr unsigned kRun = kTrain | kResume;
constexpr unsigned kAnyJob = kTraining | kEvaluate;

void set_milestones(Options& options, const std::string& text) {
    std::vector<std::int64_t> milestones;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t comma = std::min(text.find(',', begin), text.size());
        std::int64_t epoch = 0;
        if (!parse_number(text.substr(begin, comma - begin), epoch) || epoch < 1 ||
            (!milestones.empty() && epoch <= milestones.back()))
            fail_usage("--milestones takes rising epoch numbers such as 81,122,164, not '{}'", text);
        milestones.push_back(epoch);
        begin = comma + 1;
    }
    options.milestones = milestones;
}

void set_model(Options& options, const std::string& text) {
    // What knows the names is what makes the models; nothing is allocated for this one.
    ParameterStore undone;
    make_model(text, undone);
    options.model = text;
}

void set_precision(Options& options, const std::string& text) {
    if (text != "fp32" && text != "tf32" && text != "bf16")
        fail_usage("--precision is fp32, tf32 or bf16, not '{}'", text);
    options.precision = text == "bf16" ? DType::bf16 : DType::f32;
    options.tf32 = text == "tf32";
}

void set_optimizer(Options& options, const std::string& text) {
    if (text != "standard" && text != "quantization")
        fail_usage("--optimizer is standard or quantization, not '{}'", text);
    options.optimizer = text;
}

std::string listed(const std::vector<std::string>& names) {
    return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<OptionSpec> model_options() {
    return {
        {"data", "", "DIR",
         "folder with the binary CIFAR-10 files; synthetic: images drawn here; auto: $CIFAR10_DIR, then "
         "data/, then synthetic",
         kAnyJob, AtResume::stored, text_into("data", &Options::data), get_from(&Options::data)},
        {"model", "", "NAME", listed(model_names()) + " (any resnet_N with N = 6n+2)", kAnyJob,
         AtResume::fixed, set_model, get_from(&Options::model)},
    };
}

// The codec's own table, as options of a run.
std::vector<OptionSpec> gradient_options() {
    std::vector<OptionSpec> specs;
    for (const CodecOption& option : codec_options())
        specs.push_back(
            {option.name, option.alias, option.value,
             option.help + (option.name == "quant" ? "; a codec implies --optimizer quantization" : ""),
             kTraining, AtResume::fixed,
             [&option](Options& options, const std::string& text) { option.set(options.codec, text); },
             [&option](const Options& options) {
                 return std::visit([](const auto& value) { return Json(value); }, option.get(options.codec));
             },
             option.newer});
    return specs;
}

std::vector<OptionSpec> training_options() {
    constexpr std::int64_t kMostEpochs = 1000000;
    constexpr std::int64_t kMostBatch = 65536;
    return {
        {"optimizer", "", "KIND",
         "standard: plain SGD; quantization: SGD on the gradient that --quant leaves", kTraining,
         AtResume::fixed, set_optimizer, get_from(&Options::optimizer)},
        {"epochs", "", "N", "passes over the training images", kTraining, AtResume::stored,
         whole<std::int64_t>("epochs", &Options::epochs, 1, kMostEpochs), get_from(&Options::epochs)},
        {"batch-size", "", "N", "training images a step; the last step of an epoch takes what is left",
         kTraining, AtResume::fixed, whole<std::int64_t>("batch-size", &Options::batch_size, 1, kMostBatch),
         get_from(&Options::batch_size)},
        {"test-batch-size", "", "N", "test images evaluated at once", kRun | kEvaluate, AtResume::fixed,
         whole<std::int64_t>("test-batch-size", &Options::test_batch_size, 1, kMostBatch),
         get_from(&Options::test_batch_size)},
        {"lr", "", "X", "largest learning rate", kTraining, AtResume::fixed,
         real("lr", &Options::lr, 0.0, Bound::open, 1000.0, Bound::closed), get_from(&Options::lr)},
        {"momentum", "", "X", "of SGD", kTraining, AtResume::fixed,
         real("momentum", &Options::momentum, 0.0, Bound::closed, 1.0, Bound::open),
         get_from(&Options::momentum)},
        {"weight-decay", "", "X", "added to the gradient after quantization, on all parameters", kTraining,
         AtResume::fixed,
         real("weight-decay", &Options::weight_decay, 0.0, Bound::closed, 1.0, Bound::closed),
         get_from(&Options::weight_decay)},
        {"nesterov", "", "", "Nesterov's form of momentum", kTraining, AtResume::fixed,
         flag_into("nesterov", &Options::nesterov), get_from(&Options::nesterov)},
        {"lr-schedule", "", "KIND",
         "multistep: lr x 0.1 at each milestone; cosine: half a cosine down to 0 over all steps; onecycle: "
         "linear rise from lr/25 over 30 % of the steps, then half a cosine down to lr/250000",
         kTraining, AtResume::fixed,
         [](Options& options, const std::string& text) { options.lr_schedule = parse_schedule(text); },
         [](const Options& options) { return Json(to_string(options.lr_schedule)); }},
        {"milestones", "", "E,E,..", "epochs of multistep, counted from 0", kTraining, AtResume::fixed,
         set_milestones, get_from(&Options::milestones)},
        {"seed", "", "N", "of every random number of the run", kTraining, AtResume::fixed,
         whole<std::uint64_t>("seed", &Options::seed, 0, std::numeric_limits<std::uint64_t>::max()),
         get_from(&Options::seed)},
        {"max-steps", "", "N", "stop after this many steps, the schedule unchanged; 0: no limit", kTraining,
         AtResume::per_call,
         whole<std::int64_t>("max-steps", &Options::max_steps, 0, std::numeric_limits<std::int64_t>::max()),
         get_from(&Options::max_steps)},
    };
}

std::vector<OptionSpec> machine_options() {
    constexpr std::int64_t kMostThreads = 1024;
    return {
        {"device", "", "NAME", "auto, cpu, cuda or cuda:N", kAnyJob, AtResume::stored,
         text_into("device", &Options::device), get_from(&Options::device)},
        {"no-cuda", "", "", "the same as --device cpu", kAnyJob, AtResume::per_call,
         flag_into("no-cuda", &Options::no_cuda), nullptr},
        {"precision", "", "TYPE",
         "of activations: fp32 or bf16; weights, their gradients and sums stay fp32; tf32, on a GPU alone: "
         "fp32 whose products are rounded first",
         kAnyJob, AtResume::fixed, set_precision,
         [](const Options& options) { return Json(precision_name(options)); }},
        {"deterministic", "", "",
         "the same bits in every run on one GPU, somewhat slower; on the CPU it is always so", kAnyJob,
         AtResume::per_call, flag_into("deterministic", &Options::deterministic),
         get_from(&Options::deterministic)},
        {"no-graph", "", "",
         "on a GPU, start every kernel by itself instead of whole steps, for debugging; on the CPU nothing "
         "changes",
         kAnyJob, AtResume::per_call, flag_into("no-graph", &Options::no_graph),
         get_from(&Options::no_graph)},
        {"threads", "", "N", "CPU threads; 0: all; results are bitwise the same only for the same number",
         kAnyJob, AtResume::stored, whole<std::int64_t>("threads", &Options::threads, 0, kMostThreads),
         get_from(&Options::threads)},
    };
}

std::vector<OptionSpec> file_options() {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    return {
        {"log-interval", "", "N", "steps between two lines of progress", kRun, AtResume::per_call,
         whole<std::int64_t>("log-interval", &Options::log_interval, 1, kMost),
         get_from(&Options::log_interval)},
        {"tensorboard", "", "",
         "write an event file into the run's folder: scalars at every line of progress, histograms of the "
         "gradient",
         kRun, AtResume::per_call, flag_into("tensorboard", &Options::tensorboard),
         get_from(&Options::tensorboard)},
        {"histogram-interval", "", "N",
         "steps between two sets of histograms of --tensorboard, before and after quantization", kRun,
         AtResume::per_call,
         whole<std::int64_t>("histogram-interval", &Options::histogram_interval, 1, kMost),
         get_from(&Options::histogram_interval)},
        {"output", "", "DIR", "folder of the run's files, without another run in it; else a new one in runs/",
         kTrain, AtResume::per_call, text_into("output", &Options::output), get_from(&Options::output)},
        {"save-every", "", "N", "epochs between two checkpoints; 0: only at the end", kRun,
         AtResume::per_call, whole<std::int64_t>("save-every", &Options::save_every, 0, kMost),
         get_from(&Options::save_every)},
        {"save-model", "", "",
         "also write model.safetensors at the end: weights and running statistics alone", kRun,
         AtResume::per_call, flag_into("save-model", &Options::save_model), get_from(&Options::save_model)},
        {"resume", "", "FILE",
         "continue from a checkpoint, in its folder and with its options; --data, --device, --threads, "
         "--epochs "
         "(multistep), --max-steps, --log-interval, --tensorboard and the --save options may be given anew",
         kResume, AtResume::per_call, text_into("resume", &Options::resume), nullptr},
        {"eval", "", "FILE", "print the test accuracy of a checkpoint and stop", kEvaluate,
         AtResume::per_call, text_into("eval", &Options::eval), nullptr},
        {"dump-step", "", "FILE",
         "write the last of --max-steps steps (1 if not given) with all its inputs and results as "
         "safetensors, "
         "and nothing else; dropout is off in such a run, so that others can redo the step",
         kDumpStep, AtResume::per_call, text_into("dump-step", &Options::dump_step), nullptr},
    };
}

}  // namespace

const std::vector<OptionSpec>& option_table() {
    static const std::vector<OptionSpec> kTable = [] {
        std::vector<OptionSpec> table;
        for (auto&& part :
             {model_options(), gradient_options(), training_options(), machine_options(), file_options()})
            table.insert(table.end(), part.begin(), part.end());
        return table;
    }();
    return kTable;
}

const char* precision_name(const Options& options) {
    if (options.precision == DType::bf16) return "bf16";
    return options.tf32 ? "tf32" : "fp32";
}

Json to_json(const Options& options, Selection selection) {
    Json values = Json::object();
    for (const OptionSpec& spec : option_table())
        if (spec.get && (selection == Selection::all || spec.at_resume != AtResume::per_call))
            values[spec.name] = spec.get(options);
    return values;
}

std::string as_text(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_primitive()) return value.dump();
    // Nothing deeper: a hostile file must not make dump() recurse.
    std::vector<std::string> items;
    for (const Json& item : value) {
        if (!item.is_number())
            fail_usage("the stored configuration holds something else than an option's value");
        items.push_back(item.dump());
    }
    return fmt::format("{}", fmt::join(items, ","));
}

void from_json(Options& options, const Json& values) {
    if (!values.is_object()) fail_usage("the stored configuration is not an object");
    std::size_t known = 0;
    for (const OptionSpec& spec : option_table()) {
        if (!spec.get || spec.at_resume == AtResume::per_call) continue;
        const auto found = values.find(spec.name);
        const bool stored = found != values.end();
        if (!stored && !spec.newer) fail_usage("the stored configuration lacks '{}'", spec.name);
        spec.set(options, as_text(stored ? *found : spec.get(Options{})));
        known += stored;
    }
    if (values.size() != known) fail_usage("the stored configuration has options this program does not know");
}

}  // namespace qstep

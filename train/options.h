// What a person can ask of cifar_train. One table of options makes the parser, the help text, the printed
// configuration, config.json and the configuration inside checkpoints.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/dtype.h"
#include "quant/codec.h"
#include "train/schedule.h"

namespace qstep {

/// Defaults are those of the original system, with one learning rate schedule for all models.
struct Options {
    std::string data = "auto";
    std::string model = "resnet_20";
    CodecSettings codec;  // codec.seed is set from seed
    std::string optimizer = "standard";
    std::int64_t epochs = 200;
    std::int64_t batch_size = 64;
    std::int64_t test_batch_size = 250;
    double lr = 0.1;
    double momentum = 0.9;
    double weight_decay = 1e-4;
    bool nesterov = false;
    ScheduleKind lr_schedule = ScheduleKind::multistep;
    std::vector<std::int64_t> milestones = {81, 122, 164};
    std::uint64_t seed = 0;
    std::string device = "auto";
    DType precision = DType::f32;
    bool tf32 = false;  // with f32: products in tf32
    bool deterministic = false;
    bool no_graph = false;
    std::int64_t threads = 0;    // 0: all
    std::int64_t max_steps = 0;  // 0: no limit
    std::int64_t log_interval = 100;
    bool tensorboard = false;
    std::int64_t histogram_interval = 200;
    std::int64_t save_every = 1;
    bool save_model = false;
    bool no_cuda = false;
    std::string output, resume, eval, dump_step;
};

/// What a command line asks for; also bits, for the jobs in which an option has a meaning.
enum Job : unsigned { kTrain = 1, kResume = 2, kEvaluate = 4, kDumpStep = 8 };

/// How an option stands to --resume: `fixed` is stored in the checkpoint and must stay as it is; `stored`
/// too, but another value may be given; `per_call` belongs to one call of the program and is not stored.
enum class AtResume { fixed, stored, per_call };

/// One option of cifar_train.
struct OptionSpec {
    std::string name;   // without dashes
    std::string alias;  // the original system's spelling; or empty
    std::string value;  // what stands for its value in the help; empty: a switch
    std::string help;
    unsigned jobs;
    AtResume at_resume;
    /// Takes the text of the value ("true", "false" for a switch). Throws a usage error.
    std::function<void(Options&, const std::string&)> set;
    /// The value as config.json shows it; absent for a mere spelling of another option.
    std::function<nlohmann::ordered_json(const Options&)> get;
    /// Files of before it existed lack it, and mean its default.
    bool newer = false;
};

/// All options, in the order of the help text.
const std::vector<OptionSpec>& option_table();
/// "fp32", "tf32" or "bf16".
const char* precision_name(const Options& options);

/// Which options are printed and stored.
enum class Selection { all, stored };
/// Option names to values, in the table's order.
nlohmann::ordered_json to_json(const Options& options, Selection selection);
/// Sets what to_json(.., stored) wrote, here or in an earlier version. Throws a usage error for unknown or
/// missing names and bad values.
void from_json(Options& options, const nlohmann::ordered_json& values);
/// The value as it would be typed.
std::string as_text(const nlohmann::ordered_json& value);

}  // namespace qstep

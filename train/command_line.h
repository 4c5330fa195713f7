// From the arguments of cifar_train to a checked set of options.
#pragma once

#include <string>
#include <vector>

#include "train/options.h"

namespace qstep {

/// What one call of cifar_train asks for.
struct CommandLine {
    Options options;
    /// Names of the options that were given, in the table's order.
    std::vector<std::string> given;
    /// Not empty: print this and stop.
    std::string help;

    /// Whether the option, named without dashes, was given.
    bool has(const std::string& name) const;
    /// Which of the jobs is asked for.
    Job job() const;
};

/// Parses everything behind the program's name; of a repeated option the last counts. Throws a usage error of
/// one sentence for unknown options (naming the nearest), missing or bad values, values out of range, and
/// options that contradict each other or have no meaning for the job asked for.
CommandLine parse_command_line(const std::vector<std::string>& arguments);

/// The options of a resumed run: those of the checkpoint, and over them what was given anew. Throws a usage
/// error for a given option that must stay as it is, and for another --epochs where the schedule hangs on it.
Options options_for_resume(const CommandLine& command_line, const nlohmann::ordered_json& stored);

/// The same for --eval: a given --data, --device, --threads, --precision or --test-batch-size counts.
Options options_for_evaluation(const CommandLine& command_line, const nlohmann::ordered_json& stored);

/// The line to type to continue from `checkpoint`, with the options of this call that are not stored in it.
std::string resume_command(const std::string& program, const CommandLine& command_line,
                           const std::string& checkpoint);

}  // namespace qstep

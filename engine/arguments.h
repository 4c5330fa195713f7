// The command line of a program, from one table of its options.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace qstep {

/// One option of a program.
struct ProgramOption {
    std::string name;   // without dashes
    std::string alias;  // another spelling; or empty
    std::string value;  // what stands for its value in the help; empty: a switch
    std::string help;
    std::string initial;  // its value when it is not given, for the help; or empty
    /// Takes the text of the value ("true" for a switch). Throws a usage error.
    std::function<void(const std::string&)> set;
};

/// What parse_arguments() found.
struct ProgramArguments {
    /// Names of the options that were given, in the table's order.
    std::vector<std::string> given;
    /// What stands beside the options, in the order of the command line.
    std::vector<std::string> files;
    /// Not empty: print this and stop; nothing else is set then.
    std::string help;

    /// Whether the option, named without dashes, was given.
    bool has(const std::string& name) const;
};

/// Parses everything behind the program's name and calls `set` for each option given; of a repeated option
/// the last counts. `usage`: the program's name and what stands beside the options, "quantize IN OUT";
/// `purpose`: the help's first lines. Throws a usage error of one sentence for unknown options (naming the
/// nearest), missing or unwanted values and more than `most_files` files, and passes on those of `set`.
ProgramArguments parse_arguments(const std::string& usage, const std::string& purpose,
                                 const std::vector<ProgramOption>& options, std::size_t most_files,
                                 const std::vector<std::string>& arguments);

}  // namespace qstep

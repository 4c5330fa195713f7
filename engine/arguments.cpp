#include "engine/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "engine/error.h"
#include "engine/suggest.h"

namespace qstep {

namespace {

[[noreturn]] void fail_unknown(const std::vector<ProgramOption>& options, const std::string& argument) {
    if (!argument.starts_with("--"))
        fail_usage("unexpected argument '{}'; --help lists the options", argument);
    const std::string name = argument.substr(2, argument.find('=') - 2);
    std::vector<std::string_view> valid{"help"};
    for (const ProgramOption& option : options) {
        valid.push_back(option.name);
        if (!option.alias.empty()) valid.push_back(option.alias);
    }
    fail_usage("unknown option --{}; did you mean --{}?", name, nearest_name(name, valid));
}

// CLI11 takes whatever follows an option for its value, and whatever follows a switch's "=" for a number.
void check_values(const std::vector<ProgramOption>& options, const std::vector<std::string>& arguments) {
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (!argument.starts_with("--")) continue;
        const std::size_t equals = argument.find('=');
        const std::string name = argument.substr(2, equals - 2);
        const auto option = std::ranges::find_if(options, [&](const ProgramOption& candidate) {
            return name == candidate.name || (name == candidate.alias && !name.empty());
        });
        if (option == options.end()) continue;
        if (option->value.empty() && equals != std::string::npos)
            fail_usage("--{} is a switch and takes no value", name);
        if (equals + 1 == argument.size()) fail_usage("--{} was given an empty text", name);
        if (option->value.empty() || equals != std::string::npos) continue;
        if (i + 1 == arguments.size()) fail_usage("--{} needs a value", name);
        if (arguments[i + 1].starts_with("--"))
            fail_usage("--{} needs a value, and {} is an option", name, arguments[i + 1]);
        ++i;
    }
}

void add_option(CLI::App& app, const ProgramOption& option, ProgramArguments& result) {
    const std::string names = "--" + option.name + (option.alias.empty() ? "" : ",--" + option.alias);
    const auto take = [&result, &option](const std::string& text) {
        option.set(text);
        result.given.push_back(option.name);
    };
    if (option.value.empty()) {
        app.add_flag_function(
               names, [take](std::int64_t) { take("true"); }, option.help)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
        return;
    }
    const std::string initial = option.initial.empty() ? "" : " [" + option.initial + "]";
    app.add_option_function<std::string>(names, take, option.help + initial)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
        ->type_name(option.value);
}

}  // namespace

bool ProgramArguments::has(const std::string& name) const {
    return std::ranges::find(given, name) != given.end();
}

ProgramArguments parse_arguments(const std::string& usage, const std::string& purpose,
                                 const std::vector<ProgramOption>& options, std::size_t most_files,
                                 const std::vector<std::string>& arguments) {
    ProgramArguments result;
    CLI::App app(purpose, usage);
    app.set_help_flag("-h,--help", "print this text");
    app.get_formatter()->column_width(34);
    app.allow_extras();
    for (const ProgramOption& option : options) add_option(app, option, result);
    check_values(options, arguments);
    try {
        // CLI11 takes its arguments from the back.
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp&) {
        result.help = app.help();
        return result;
    } catch (const CLI::ParseError& error) {
        fail_usage("{}", error.what());
    }
    for (const std::string& extra : app.remaining()) {
        if (extra.starts_with("-") || result.files.size() == most_files) fail_unknown(options, extra);
        result.files.push_back(extra);
    }
    return result;
}

}  // namespace qstep

// Trains, resumes and evaluates networks on CIFAR-10 with a quantized gradient; --help lists the options.
// `compare` puts runs side by side.
#include <fmt/format.h>

#include "engine/program.h"
#include "train/command_line.h"
#include "train/jobs.h"
#include "train/report/compare.h"

int main(int argc, char** argv) {
    return qstep::program_main("cifar_train", argc, argv, [argv](const std::vector<std::string>& arguments) {
        if (!arguments.empty() && arguments[0] == "compare")
            return qstep::compare_runs({arguments.begin() + 1, arguments.end()});
        const auto command_line = qstep::parse_command_line(arguments);
        if (command_line.help.empty()) return qstep::run_job(command_line, argv[0]);
        fmt::print("{}", command_line.help);
        return 0;
    });
}

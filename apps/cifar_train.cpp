// Trains, resumes and evaluates networks on CIFAR-10 with a quantized gradient; --help lists the options.
#include <fmt/format.h>

#include "engine/program.h"
#include "train/command_line.h"
#include "train/jobs.h"

int main(int argc, char** argv) {
    return qstep::program_main("cifar_train", argc, argv, [argv](const std::vector<std::string>& arguments) {
        const auto command_line = qstep::parse_command_line(arguments);
        if (command_line.help.empty()) return qstep::run_job(command_line, argv[0]);
        fmt::print("{}", command_line.help);
        return 0;
    });
}

// Trains, resumes and evaluates networks on CIFAR-10 with a quantized gradient; --help lists the options.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "engine/error.h"
#include "train/command_line.h"
#include "train/jobs.h"

int main(int argc, char** argv) {
    try {
        const auto command_line = qstep::parse_command_line(std::vector<std::string>(argv + 1, argv + argc));
        if (!command_line.help.empty()) {
            fmt::print("{}", command_line.help);
            return 0;
        }
        return qstep::run_job(command_line, argv[0]);
    } catch (const qstep::Error& error) {
        std::fflush(stdout);
        fmt::print(stderr, "cifar_train: {}\n", error.what());
        return error.kind() == qstep::ErrorKind::usage ? 2 : 1;
    } catch (const std::bad_alloc&) {
        std::fflush(stdout);
        fmt::print(stderr, "cifar_train: the machine has no memory left\n");
        return 1;
    } catch (const std::exception& error) {
        std::fflush(stdout);
        fmt::print(stderr, "cifar_train: {}\n", error.what());
        return 1;
    }
}

// Trains, resumes and evaluates networks on CIFAR-10 with a quantized gradient; --help lists the options.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "engine/error.h"
#include "train/command_line.h"
#include "train/jobs.h"

namespace {

int run(int argc, char** argv) {
    const auto command_line = qstep::parse_command_line(std::vector<std::string>(argv + 1, argv + argc));
    if (command_line.help.empty()) return qstep::run_job(command_line, argv[0]);
    fmt::print("{}", command_line.help);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    // A file that grows beyond the limit then fails as on a full disk.
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        const int status = run(argc, argv);
        if (status == 0 && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0))
            qstep::fail_run("cannot write to standard output");
        return status;
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

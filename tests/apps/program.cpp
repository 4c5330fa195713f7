#include "tests/apps/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "engine/random.h"

namespace qstep {

namespace {

void redirect(const std::filesystem::path& file, int flags, int descriptor) {
    const int opened = open(file.c_str(), flags, 0644);
    if (opened < 0 || dup2(opened, descriptor) < 0) _exit(99);
}

int status_of(int wait_status) {
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace

Program::Program(const std::string& binary, const std::vector<std::string>& arguments,
                 const std::filesystem::path& folder, const std::string& input)
    : folder_(folder) {
    std::ofstream(folder / "stdin") << input;
    // Not to be taken for the output of a program that ran here before.
    std::ofstream(folder / "stdout");
    process_ = fork();
    if (process_ != 0) return;
    redirect(folder / "stdin", O_RDONLY, STDIN_FILENO);
    redirect(folder / "stdout", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    redirect(folder / "stderr", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    std::vector<char*> argv{const_cast<char*>(binary.c_str())};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    // Threads that spin at barriers would make every step last many time slices on a busy machine.
    setenv("OMP_WAIT_POLICY", "passive", 1);
    if (chdir(folder.c_str()) == 0) execv(binary.c_str(), argv.data());
    _exit(98);
}

Program::~Program() {
    if (process_ > 0) {
        kill(process_, SIGKILL);
        waitpid(process_, nullptr, 0);
    }
}

bool Program::wait_for_output(const std::string& text) {
    for (int tries = 0; tries < 60000; ++tries) {
        if (read_bytes(folder_ / "stdout").find(text) != std::string::npos) return true;
        int status = 0;
        if (waitpid(process_, &status, WNOHANG) == process_) {
            process_ = -1;
            outcome_.status = status_of(status);
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
}

void Program::send(int signal) const {
    if (process_ > 0) kill(process_, signal);
}

Outcome Program::wait() {
    int status = 0;
    if (process_ > 0 && waitpid(process_, &status, 0) == process_) outcome_.status = status_of(status);
    process_ = -1;
    outcome_.out = read_bytes(folder_ / "stdout");
    outcome_.err = read_bytes(folder_ / "stderr");
    return outcome_;
}

Outcome run_program(const std::string& binary, const std::vector<std::string>& arguments,
                    const std::filesystem::path& folder, const std::string& input) {
    return Program(binary, arguments, folder, input).wait();
}

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

void ProgramTest::hide_gpus() {
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
    setenv("QSTEP_EMULATED_GPUS", "0", 1);
}

Outcome ProgramTest::run(const std::string& arguments) const {
    return run_program(binary_, words(arguments), folder_.path());
}

Outcome ProgramTest::run_well(const std::string& arguments) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << arguments << "\n" << outcome.err;
    return outcome;
}

void ProgramTest::expect_failure(const std::string& arguments, int status, const std::string& part) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, status) << arguments << "\n" << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << arguments << "\n" << outcome.err;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    const std::string name = std::filesystem::path(binary_).filename();
    EXPECT_EQ(outcome.err.find(name + ": "), 0u) << outcome.err;
}

void write_cifar(const std::filesystem::path& folder, int per_file, int test) {
    constexpr int kPixels = 3072;
    std::filesystem::create_directories(folder);
    std::uint32_t image = 0;
    for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                             "data_batch_5.bin", "test_batch.bin"}) {
        std::ofstream file(folder / name, std::ios::binary);
        const int count = std::string_view(name) == "test_batch.bin" ? test : per_file;
        for (int i = 0; i < count; ++i, ++image) {
            const RandomStream stream{1, Purpose::synthetic_data, image};
            const std::uint32_t label = image % 10;
            std::string record(1, static_cast<char>(label));
            for (int pixel = 0; pixel < kPixels; ++pixel)
                record += static_cast<char>(20 * label + stream.bits(static_cast<std::uint64_t>(pixel)) % 56);
            file << record;
        }
    }
}

}  // namespace qstep

// Runs a program of the build and small CIFAR-10 files for it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/temporary_folder.h"

namespace qstep {

struct Outcome {
    int status = -1;  // exit status, or 128 + signal for a killed program
    std::string out, err;
};

/// A started program; its output goes to files in `folder`.
class Program {
  public:
    Program(const std::string& binary, const std::vector<std::string>& arguments,
            const std::filesystem::path& folder, const std::string& input = "");
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program();

    /// Waits until standard output contains `text`; false when the program ended before or a minute passed.
    bool wait_for_output(const std::string& text);
    void send(int signal) const;
    Outcome wait();

  private:
    std::filesystem::path folder_;
    int process_ = -1;
    Outcome outcome_;
};

Outcome run_program(const std::string& binary, const std::vector<std::string>& arguments,
                    const std::filesystem::path& folder, const std::string& input = "");

/// Words separated by spaces.
std::vector<std::string> words(const std::string& text);

/// Tests of one program, in a folder of their own.
class ProgramTest : public testing::Test {
  protected:
    explicit ProgramTest(std::string binary) : binary_(std::move(binary)) {}

    /// Programs started from here on see no GPU, real or emulated, and "auto" is the CPU.
    static void hide_gpus();
    Outcome run(const std::string& arguments) const;
    /// Expects status 0.
    Outcome run_well(const std::string& arguments) const;
    /// Expects this status and one line on standard error, which begins with the program's name and contains
    /// `part`.
    void expect_failure(const std::string& arguments, int status, const std::string& part) const;

    std::filesystem::path in(const std::string& name) const { return folder_.path() / name; }
    std::string bytes(const std::string& name) const { return read_bytes(in(name)); }
    bool exists(const std::string& name) const { return std::filesystem::exists(in(name)); }

    std::string binary_;
    TemporaryFolder folder_;
};

/// Writes the six CIFAR-10 files: images of noise whose brightness depends on the label, `per_file` in each
/// of the five training files and `test` in the test file.
void write_cifar(const std::filesystem::path& folder, int per_file, int test);

}  // namespace qstep

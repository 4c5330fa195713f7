// Runs a program of the build and small CIFAR-10 files for it.
#pragma once

#include <string>
#include <vector>

#include "tests/train/temporary_folder.h"

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

/// Writes the six CIFAR-10 files: images of noise whose brightness depends on the label, `per_file` in each
/// of the five training files and `test` in the test file.
void write_cifar(const std::filesystem::path& folder, int per_file, int test);

}  // namespace qstep

// A folder with small CIFAR-10 files in which tests run cifar_train as a person does.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>

#include "tests/apps/program.h"
#include "train/safetensors.h"

namespace qstep {

// 100 training images in batches of 16: six whole ones and a rest of four.
inline constexpr int kPerFile = 20;
inline constexpr int kTest = 30;
inline constexpr int kStepsPerEpoch = 7;

class CifarTrain : public testing::Test {
  protected:
    CifarTrain() {
        // On the CPU also where a GPU, real or emulated, would be taken.
        setenv("CUDA_VISIBLE_DEVICES", "", 1);
        setenv("QSTEP_EMULATED_GPUS", "0", 1);
        write_cifar(folder_.path() / "cifar", kPerFile, kTest);
    }

    static std::string training(const std::string& rest) {
        return "--data cifar --model simple --quant standard --batch-size 16 --test-batch-size 16 --threads "
               "2 --lr "
               "0.01 " +
               rest;
    }
    Outcome run(const std::string& arguments) {
        return run_program(CIFAR_TRAIN, words(arguments), folder_.path());
    }
    Outcome run_well(const std::string& arguments) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.status, 0) << arguments << "\n" << outcome.err;
        return outcome;
    }
    // One line on standard error, this status.
    void expect_failure(const std::string& arguments, int status, const std::string& part) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.status, status) << arguments << "\n" << outcome.err;
        EXPECT_NE(outcome.err.find(part), std::string::npos) << arguments << "\n" << outcome.err;
        EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
        EXPECT_EQ(outcome.err.find("cifar_train: "), 0u) << outcome.err;
    }
    std::filesystem::path in(const std::string& name) const { return folder_.path() / name; }
    std::string bytes(const std::string& name) const { return read_bytes(in(name)); }
    bool exists(const std::string& name) const { return std::filesystem::exists(in(name)); }

    // Percent, of the last epoch.
    double last_test_accuracy(const std::string& name) const {
        std::istringstream lines(bytes(name + "/metrics.csv"));
        std::string line, cell;
        while (std::getline(lines, line)) cell = line;
        std::istringstream cells(cell);
        for (int column = 0; column < 7; ++column) std::getline(cells, cell, ',');
        return std::stod(cell);
    }
    // metrics.csv without the two columns that measure time.
    std::string timeless_metrics(const std::string& name) const {
        std::istringstream lines(bytes(name + "/metrics.csv"));
        std::string text;
        for (std::string line; std::getline(lines, line);) {
            for (int column = 0; column < 2; ++column) line.erase(line.rfind(','));
            text += line + "\n";
        }
        return text;
    }
    void expect_same_run(const std::string& a, const std::string& b) {
        EXPECT_TRUE(bytes(a + "/checkpoint.safetensors") == bytes(b + "/checkpoint.safetensors"))
            << a << " " << b;
        EXPECT_EQ(timeless_metrics(a), timeless_metrics(b));
    }
    std::int64_t stored_step(const std::string& checkpoint) const {
        return std::stoll(SafetensorsFile(in(checkpoint)).metadata().at("step"));
    }

    TemporaryFolder folder_;
};

}  // namespace qstep

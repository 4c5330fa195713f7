// A folder with small CIFAR-10 files in which tests run cifar_train as a person does.
#pragma once

#include <algorithm>
#include <cstring>
#include <sstream>
#include <string>

#include "tests/apps/program.h"
#include "train/safetensors.h"

namespace qstep {

// 100 training images in batches of 16: six whole ones and a rest of four.
inline constexpr int kPerFile = 20;
inline constexpr int kTest = 30;
inline constexpr int kStepsPerEpoch = 7;

class CifarTrain : public ProgramTest {
  protected:
    CifarTrain() : ProgramTest(CIFAR_TRAIN) {
        hide_gpus();
        write_cifar(folder_.path() / "cifar", kPerFile, kTest);
    }

    static std::string training(const std::string& rest) {
        return "--data cifar --model simple --quant standard --batch-size 16 --test-batch-size 16 --threads "
               "2 --lr "
               "0.01 " +
               rest;
    }
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
    // Overwrites the first element of a tensor in a checkpoint.
    void set_first(const std::string& checkpoint, const std::string& tensor, float value) const {
        std::string content = bytes(checkpoint);
        std::uint64_t data_bytes = 0, begin = 0;
        {
            const SafetensorsFile file(in(checkpoint));
            for (const auto& item : file.entries()) data_bytes = std::max(data_bytes, item.second.end);
            begin = file.entries().at(tensor).begin;
        }
        std::memcpy(content.data() + content.size() - data_bytes + begin, &value, sizeof value);
        std::ofstream(in(checkpoint), std::ios::binary) << content;
    }
    std::int64_t stored_step(const std::string& checkpoint) const {
        return std::stoll(SafetensorsFile(in(checkpoint)).metadata().at("step"));
    }
};

}  // namespace qstep

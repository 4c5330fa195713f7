// cifar_train, bench_step and bench_kernels with --device cuda, as a person runs them.
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>

#include "engine/backend.h"
#include "tests/apps/bench_kernels_report.h"
#include "train/safetensors.h"

namespace qstep {
namespace {

// 50 training images in batches of 8: six whole ones and a rest of two.
constexpr int kPerFile = 10, kTest = 14, kStepsPerEpoch = 7;

/// An environment variable, for programs started while this lives.
class Variable {
  public:
    Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
    ~Variable() { unsetenv(name_); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

  private:
    const char* name_;
};

class CudaProgram : public ProgramTest {
  protected:
    CudaProgram() : ProgramTest(program("cifar_train")) {}
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
        ASSERT_TRUE(std::filesystem::exists(program("cifar_train"))) << program("cifar_train");
        write_cifar(in("cifar"), kPerFile, kTest);
    }
    static std::string program(const std::string& name) {
        return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "apps" / name;
    }
    static std::string training(const std::string& rest) {
        return "--data cifar --model simple --quant standard --batch-size 8 --test-batch-size 8 --threads 1 "
               "--lr 0.01 --deterministic " +
               rest;
    }
    // The numbers of metrics.csv without the two that measure time.
    std::vector<std::vector<double>> metrics(const std::string& name) const {
        std::istringstream lines(bytes(name + "/metrics.csv"));
        std::string line, cell;
        std::getline(lines, line);
        std::vector<std::vector<double>> rows;
        while (std::getline(lines, line)) {
            std::istringstream cells(line);
            auto& row = rows.emplace_back();
            while (std::getline(cells, cell, ',')) row.push_back(std::stod(cell));
            row.resize(row.size() - 2);
        }
        return rows;
    }
    // Every tensor of a checkpoint, one behind the other; options and device lie in its header.
    std::vector<float> numbers(const std::string& checkpoint) const {
        const SafetensorsFile file(in(checkpoint));
        std::vector<float> all;
        for (const auto& item : file.entries()) {
            std::vector<float> values(item.second.bytes() / sizeof(float));
            file.read(item.second, std::as_writable_bytes(std::span(values)));
            all.insert(all.end(), values.begin(), values.end());
        }
        return all;
    }
    void expect_same_run(const std::string& a, const std::string& b) const {
        const std::vector<float> x = numbers(a + "/checkpoint.safetensors"),
                                 y = numbers(b + "/checkpoint.safetensors");
        ASSERT_EQ(x.size(), y.size());
        EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)), 0) << a << " " << b;
        EXPECT_EQ(metrics(a), metrics(b));
    }
    // Losses, accuracies and variances of two runs of the same options on two devices: some steps at a small
    // learning rate let rounding grow little.
    void expect_near(const std::string& a, const std::string& b) const {
        constexpr double kRelative = 1e-3, kOneImage = 100.0 / kTest;
        const auto x = metrics(a), y = metrics(b);
        ASSERT_EQ(x.size(), y.size());
        for (std::size_t row = 0; row < x.size(); ++row)
            for (const std::size_t column : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u})
                EXPECT_NEAR(x[row][column], y[row][column],
                            column == 4 || column == 6 ? kOneImage : kRelative * std::abs(y[row][column]))
                    << row << " " << column;
    }
    std::int64_t stored_step(const std::string& checkpoint) const {
        return std::stoll(SafetensorsFile(in(checkpoint)).metadata().at("step"));
    }
};

TEST_F(CudaProgram, TrainsAsTheCpuDoes) {
    const Outcome outcome =
        run_well(training("--device cuda --epochs 2 --output gpu --log-interval 3 --save-model"));
    EXPECT_NE(outcome.out.find("epoch 1/2  step 3/7"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("epoch 2/2  step 6/7"), std::string::npos) << outcome.out;
    EXPECT_EQ(outcome.out.find("not deterministic"), std::string::npos) << outcome.out;
    run_well(training("--device cpu --epochs 2 --output cpu"));
    EXPECT_EQ(metrics("gpu").size(), 2u);
    expect_near("gpu", "cpu");
    const Outcome evaluated = run_well("--eval gpu/model.safetensors --device cpu");
    const Outcome again = run_well("--eval gpu/checkpoint.safetensors");
    const auto accuracy = [](const Outcome& o) { return o.out.substr(o.out.find("test accuracy")); };
    EXPECT_EQ(accuracy(evaluated), accuracy(again));
}

TEST_F(CudaProgram, TheSameSeedGivesTheSameBytesHoweverStepsAreLaunched) {
    run_well(training("--device cuda --epochs 2 --output a"));
    run_well(training("--device cuda --epochs 2 --output b --log-interval 1"));
    run_well(training("--device cuda --epochs 2 --output c --no-graph"));
    expect_same_run("a", "b");
    expect_same_run("a", "c");
    EXPECT_TRUE(bytes("a/checkpoint.safetensors") == bytes("b/checkpoint.safetensors"));
}

TEST_F(CudaProgram, ResumesBitwise) {
    const std::string schedule = "--device cuda --lr-schedule cosine --epochs 2 ";
    run_well(training(schedule + "--output whole"));
    for (const int steps : {3, kStepsPerEpoch, kStepsPerEpoch + 5}) {
        const std::string out = "stopped" + std::to_string(steps);
        run_well(training(schedule + "--output " + out + " --max-steps " + std::to_string(steps)));
        EXPECT_EQ(stored_step(out + "/checkpoint.safetensors"), steps);
        run_well("--deterministic --resume " + out + "/checkpoint.safetensors");
        expect_same_run("whole", out);
    }
}

TEST_F(CudaProgram, CheckpointsMoveBetweenDevices) {
    run_well(training("--device cpu --epochs 3 --output cpu"));
    run_well(training("--device cpu --epochs 3 --output moved --max-steps 4"));
    const std::string resume = "--deterministic --resume moved/checkpoint.safetensors ";
    run_well(resume + "--device cuda --max-steps 12");
    EXPECT_EQ(stored_step("moved/checkpoint.safetensors"), 12);
    run_well(resume + "--device cpu");
    expect_near("moved", "cpu");
}

TEST_F(CudaProgram, TrainsBatchNormInBfloat16) {
    const std::string line =
        "--data cifar --model resnet_8 --quant hadamard --precision bf16 --batch-size 8 --threads 1 "
        "--deterministic --device cuda ";
    run_well(line + "--output whole --max-steps 8");
    run_well(line + "--output parts --max-steps 4");
    run_well("--deterministic --resume parts/checkpoint.safetensors --max-steps 8");
    expect_same_run("whole", "parts");
}

TEST_F(CudaProgram, ALossThatIsNotFiniteKeepsTheLastCheckpoint) {
    expect_failure(training("--device cuda --lr 1000 --output wild"), 1, "not finite");
    run_well(training("--device cuda --epochs 3 --max-steps 9 --output out"));
    // One weight becomes infinite, as after a step too far.
    std::string content = bytes("out/checkpoint.safetensors");
    {
        const SafetensorsFile file(in("out/checkpoint.safetensors"));
        std::uint64_t end = 0;
        for (const auto& item : file.entries()) end = std::max(end, item.second.end);
        const float infinity = std::numeric_limits<float>::infinity();
        std::memcpy(content.data() + (content.size() - end) + file.entries().at("fc3.bias").begin, &infinity,
                    sizeof infinity);
    }
    std::ofstream(in("out/checkpoint.safetensors"), std::ios::binary) << content;
    const std::string metrics = bytes("out/metrics.csv");
    const std::string resume = "--resume out/checkpoint.safetensors";
    expect_failure(resume, 1, "the gradient of conv1.weight is not finite");
    expect_failure(resume, 1, "in step 10 (epoch 2)");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == content);
    EXPECT_EQ(bytes("out/metrics.csv"), metrics);
}

TEST_F(CudaProgram, StopsOnSignalsAndResumesBitwise) {
    const std::string line = training("--device cuda --epochs 100000 --output ");
    Program program(CudaProgram::program("cifar_train"), words(line + "stopped"), folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 1/"));
    program.send(SIGTERM);
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.status, 143) << outcome.err;
    const std::string last =
        " --max-steps " + std::to_string(stored_step("stopped/checkpoint.safetensors") + 4);
    run_well("--deterministic --resume stopped/checkpoint.safetensors" + last);
    run_well(line + "whole" + last);
    expect_same_run("whole", "stopped");
}

TEST_F(CudaProgram, DumpsAStepOfTheGpu) {
    const std::string line =
        "--data cifar --model simple --batch-size 8 --threads 1 --deterministic --max-steps 2 ";
    run_well(line + "--device cuda --dump-step gpu");
    run_well(line + "--device cpu --dump-step cpu");
    const SafetensorsFile gpu(in("gpu")), cpu(in("cpu"));
    EXPECT_EQ(gpu.entries().size(), cpu.entries().size());
    EXPECT_EQ(gpu.metadata(), cpu.metadata());
    const std::vector<float> x = numbers("gpu"), y = numbers("cpu");
    ASSERT_EQ(x.size(), y.size());
    double error = 0.0, size = 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        error += std::pow(static_cast<double>(x[i]) - y[i], 2);
        size += std::pow(y[i], 2);
    }
    constexpr double kRelative = 1e-3;
    EXPECT_LE(std::sqrt(error), kRelative * std::sqrt(size));
}

TEST_F(CudaProgram, SaysWhatIsNotDeterministic) {
    const Outcome outcome = run_well(
        "--data cifar --model simple --precision tf32 --batch-size 8 --device cuda --max-steps 1 --output "
        "out");
    EXPECT_NE(outcome.out.find("--deterministic"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("tf32"), std::string::npos) << outcome.out;
    // The CPU can go on in fp32 alone.
    expect_failure("--resume out/checkpoint.safetensors --device cpu --max-steps 2", 2, "tf32");
    run_well("--resume out/checkpoint.safetensors --device cpu --precision fp32 --max-steps 2");
}

TEST_F(CudaProgram, ASecondGpu) {
    const Variable two("QSTEP_EMULATED_GPUS", "2");
#ifndef QSTEP_EMULATED_CUDA
    if (device_count(DeviceKind::cuda) < 2) GTEST_SKIP() << "one CUDA device";
#endif
    run_well(training("--device cuda:1 --max-steps 3 --output second"));
    run_well(training("--device cuda:0 --max-steps 3 --output first"));
    expect_same_run("first", "second");
    const std::string behind = "cuda:" + std::to_string(device_count(DeviceKind::cuda));
    expect_failure(training("--max-steps 3 --output none --device " + behind), 1, "there is no " + behind);
}

TEST_F(CudaProgram, AKernelThatFailsEndsTheRunAndKeepsTheLastCheckpoint) {
#ifndef QSTEP_EMULATED_CUDA
    GTEST_SKIP() << "a kernel can be made to fail only where it is emulated";
#endif
    run_well(training("--device cuda --epochs 2 --output whole"));
    {
        const Variable kernel("QSTEP_EMULATED_FAILING_KERNEL", "end_step"),
            run("QSTEP_EMULATED_FAILING_RUN", "10");
        expect_failure(training("--device cuda --epochs 2 --output broken"), 1, "end_step: made to fail");
        expect_failure(training("--device cuda --epochs 2 --no-graph --output eager"), 1,
                       "launching end_step in ");
    }
    for (const std::string out : {"broken", "eager"}) {
        EXPECT_EQ(stored_step(out + "/checkpoint.safetensors"), kStepsPerEpoch);
        run_well("--deterministic --resume " + out + "/checkpoint.safetensors");
        expect_same_run("whole", out);
    }
}

TEST_F(CudaProgram, WithoutAUsableGpu) {
#ifndef QSTEP_EMULATED_CUDA
    GTEST_SKIP() << "this machine has a GPU";
#endif
    const std::string line = training("--device cuda --output none");
    {
        const Variable none("QSTEP_EMULATED_GPUS", "0");
        expect_failure(line, 1, "no NVIDIA GPU that CUDA can see; use --device cpu");
    }
    {
        const Variable old("QSTEP_EMULATED_DRIVER", "12040");
        expect_failure(line, 1, "made for CUDA 12.4, this program for CUDA 13.0");
    }
    EXPECT_FALSE(std::filesystem::exists(in("none")));
}

TEST_F(CudaProgram, OutOfMemory) {
#ifndef QSTEP_EMULATED_CUDA
    GTEST_SKIP() << "memory is short only where it is emulated";
#endif
    const auto fails_with = [&](const char* mebibytes, const std::string& options,
                                const std::string& remedy) {
        const Variable memory("QSTEP_EMULATED_MEMORY_MIB", mebibytes);
        expect_failure(training("--device cuda --max-steps 3 --output none " + options), 1,
                       "MiB are free; " + remedy);
    };
    // In the order in which they are asked for: what stays, what a step needs, and the workspace, which is
    // the convolutions' or, where it needs more, the codec's.
    fails_with("1", "", "the images and the parameters lie there: a smaller --model or fewer images");
    fails_with("3", "--batch-size 50", "a smaller --batch-size or --test-batch-size, or --precision bf16,");
    fails_with("3", "", "a smaller --batch-size or --test-batch-size needs less");
    fails_with("30", "--quant smart --solver exact --levels 256 --bucket-size -1", "a smaller --bucket-size");
    EXPECT_FALSE(std::filesystem::exists(in("none")));
}

TEST_F(CudaProgram, BenchStep) {
    const std::string line = "--model simple --batch-size 8 --quant standard --threads 1 --device cuda";
    const Outcome outcome = run_program(program("bench_step"), words(line), folder_.path(), "3\n11\n");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    std::istringstream lines(outcome.out);
    std::string text;
    std::getline(lines, text);
    EXPECT_EQ(text.find("ready simple batch 8 fp32 quant standard threads 1 on "), 0u) << text;
    for (const std::size_t count : {3u, 11u}) {
        std::getline(lines, text);
        ASSERT_EQ(words(text).size(), count) << text;
        EXPECT_GT(std::stod(words(text).back()), 0.0);
    }
    const Outcome profile = run_program(program("bench_step"), words(line + " --profile"), folder_.path());
    EXPECT_EQ(profile.status, 0) << profile.err;
    EXPECT_NE(profile.out.find("quantize, update"), std::string::npos) << profile.out;
}

TEST_F(CudaProgram, BenchKernels) {
    expect_kernel_report(program("bench_kernels"), "cuda");
    // Weights lie as the own kernels want them in either case; emulated, these would take minutes.
    setenv("QSTEP_OWN_CONVOLUTIONS", "0", 1);
    expect_weights_to_fit(program("bench_kernels"), "cuda");
    unsetenv("QSTEP_OWN_CONVOLUTIONS");
}

}  // namespace
}  // namespace qstep

// cifar_train as a person runs it: exit statuses, files, resuming. Small data, small models, the real
// program.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"
#include "train/safetensors.h"

namespace qstep {
namespace {

// 100 training images in batches of 16: six whole ones and a rest of four.
constexpr int kPerFile = 20;
constexpr int kTest = 30;
constexpr int kStepsPerEpoch = 7;

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

TEST_F(CifarTrain, WritesWhatItSays) {
    const Outcome outcome = run_well(training("--epochs 2 --output out --log-interval 3 --save-model"));
    EXPECT_NE(outcome.out.find("  quant             standard"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("step 3/7"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("epoch 2/2  train loss"), std::string::npos) << outcome.out;
    for (const char* name :
         {"out/checkpoint.safetensors", "out/metrics.csv", "out/config.json", "out/model.safetensors"}) {
        EXPECT_TRUE(exists(name)) << name;
        EXPECT_NE(outcome.out.find(name), std::string::npos) << name;
    }
    const auto config = nlohmann::json::parse(bytes("out/config.json"));
    EXPECT_EQ(config["options"]["batch-size"], 16);
    EXPECT_EQ(config["options"]["quant"], "standard");
    EXPECT_EQ(config["parameters"], 62006);
    EXPECT_EQ(config["data"]["train_images"], 5 * kPerFile);
    EXPECT_EQ(std::ranges::count(bytes("out/metrics.csv"), '\n'), 3);
    EXPECT_EQ(stored_step("out/checkpoint.safetensors"), 2 * kStepsPerEpoch);
    for (const auto& file : std::filesystem::directory_iterator(in("out")))
        EXPECT_NE(file.path().extension(), ".tmp") << file.path();
}

TEST_F(CifarTrain, TheOriginalsFiveLines) {
    for (const char* quantization :
         {"none", "standard", "smart --bucket-size 51200", "hadamard", "exponential"}) {
        const Outcome outcome =
            run_well(std::string("--model resnet_20 --optimizer quantization --quantization-type ") +
                     quantization + " --data cifar --max-steps 1");
        EXPECT_NE(outcome.out.find("runs/resnet_20-" + words(quantization)[0]), std::string::npos)
            << outcome.out;
    }
}

TEST_F(CifarTrain, TheSameSeedGivesTheSameBytes) {
    run_well(training("--epochs 2 --output a --seed 5"));
    run_well(training("--epochs 2 --output b --seed 5"));
    expect_same_run("a", "b");
    run_well(training("--epochs 2 --output c --seed 6"));
    EXPECT_FALSE(bytes("a/checkpoint.safetensors") == bytes("c/checkpoint.safetensors"));
}

// The brightness of the test's images tells their class. One in ten is what guessing gives.
TEST_F(CifarTrain, LearnsWithEveryCodec) {
    constexpr double kLeastAccuracy = 60.0;
    for (const std::string codec : {"none", "standard", "smart", "hadamard", "exponential"}) {
        run_well(
            "--data cifar --model resnet_8 --batch-size 20 --lr 0.05 --epochs 12 --save-every 0 --threads 2 "
            "--quant " +
            codec + " --output " + codec);
        EXPECT_GE(last_test_accuracy(codec), kLeastAccuracy) << codec;
    }
}

TEST_F(CifarTrain, ResumesBitwiseAtAnEpochBorderAndInTheMiddle) {
    const std::string schedule = "--lr-schedule cosine --epochs 3 ";
    run_well(training(schedule + "--output whole"));
    for (const int steps : {kStepsPerEpoch, kStepsPerEpoch + 3, 2 * kStepsPerEpoch - 1}) {
        const std::string out = "stopped" + std::to_string(steps);
        run_well(training(schedule + "--output " + out + " --max-steps " + std::to_string(steps)));
        EXPECT_EQ(stored_step(out + "/checkpoint.safetensors"), steps);
        run_well("--resume " + out + "/checkpoint.safetensors");
        expect_same_run("whole", out);
    }
}

TEST_F(CifarTrain, ResumesBatchNormBitwise) {
    const auto line = [](const std::string& rest) {
        return "--data cifar --model resnet_8 --quant hadamard --precision bf16 --batch-size 16 --threads "
               "2 " +
               rest;
    };
    run_well(line("--output whole --max-steps 9"));
    run_well(line("--output parts --max-steps 4"));
    run_well("--resume parts/checkpoint.safetensors --max-steps 9");
    expect_same_run("whole", "parts");
}

TEST_F(CifarTrain, AResumedRunDropsLinesBeyondItsCheckpoint) {
    run_well(training("--epochs 3 --output whole"));
    run_well(training("--epochs 3 --output late --save-every 0 --max-steps 7"));
    // As if the run had been killed after its second epoch's line, before its checkpoint.
    std::filesystem::copy_file(in("whole/metrics.csv"), in("late/metrics.csv"),
                               std::filesystem::copy_options::overwrite_existing);
    run_well("--resume late/checkpoint.safetensors");
    expect_same_run("whole", "late");
}

TEST_F(CifarTrain, StopsOnSignalsAndResumesBitwise) {
    for (const auto& [signal, status] : {std::pair{SIGTERM, 143}, std::pair{SIGINT, 130}}) {
        const std::string out = "stopped" + std::to_string(status);
        const std::string line = training("--epochs 100000 --log-interval 1 --output ");
        Program program(CIFAR_TRAIN, words(line + out), folder_.path());
        ASSERT_TRUE(program.wait_for_output("epoch 2/"));
        program.send(signal);
        const Outcome outcome = program.wait();
        EXPECT_EQ(outcome.status, status) << outcome.err;
        const std::string checkpoint = out + "/checkpoint.safetensors";
        EXPECT_NE(outcome.out.find("--resume " + checkpoint), std::string::npos) << outcome.out;
        const std::string last = " --max-steps " + std::to_string(stored_step(checkpoint) + 9);
        run_well("--resume " + checkpoint + last);
        run_well(line + "whole" + std::to_string(status) + last);
        expect_same_run("whole" + std::to_string(status), out);
    }
}

TEST_F(CifarTrain, SavesWhenTheReaderOfItsOutputGoes) {
    const std::string line = training("--epochs 3 --log-interval 1 --threads 1 ");
    const std::string piped =
        std::string(CIFAR_TRAIN) + " " + line + "--output piped | head -n 40 >/dev/null";
    const std::string status =
        "cd '" + folder_.path().string() + "' && set -o pipefail; " + piped + "; echo $? >status";
    Program shell("/bin/bash", {"-c", status}, folder_.path());
    shell.wait();
    EXPECT_EQ(bytes("status"), "141\n");
    run_well("--resume piped/checkpoint.safetensors");
    run_well(line + "--output whole");
    expect_same_run("whole", "piped");
}

TEST_F(CifarTrain, NeverReplacesANewerCheckpoint) {
    run_well(training("--max-steps 2 --output out"));
    std::filesystem::copy_file(in("out/checkpoint.safetensors"), in("out/early.safetensors"));
    run_well("--resume out/checkpoint.safetensors --max-steps 4");
    const std::string newer = bytes("out/checkpoint.safetensors");
    expect_failure("--resume out/early.safetensors --max-steps 4", 2, "would be replaced");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == newer);
}

TEST_F(CifarTrain, NeverMixesTwoRuns) {
    run_well(training("--max-steps 2 --output out"));
    const std::string before = bytes("out/checkpoint.safetensors");
    expect_failure(training("--max-steps 2 --output out"), 2, "of another run");
    EXPECT_EQ(bytes("out/checkpoint.safetensors"), before);
}

TEST_F(CifarTrain, EvaluatesACheckpoint) {
    run_well(training("--epochs 2 --output out --save-model"));
    const std::string accuracy = fmt::format("test accuracy {:.2f} %", last_test_accuracy("out"));
    for (const char* file : {"out/checkpoint.safetensors", "out/model.safetensors"}) {
        const Outcome outcome = run_well(std::string("--eval ") + file);
        EXPECT_NE(outcome.out.find(accuracy), std::string::npos) << accuracy << "\n" << outcome.out;
    }
    expect_failure("--eval out/checkpoint.safetensors --model alexnet", 2,
                   "checkpoint of simple, not of alexnet");
    expect_failure("--resume out/model.safetensors", 1, "weights alone");
    expect_failure("--resume out/checkpoint.safetensors", 2, "already holds all 2 epochs");
    expect_failure("--resume out/checkpoint.safetensors --epochs 3 --max-steps 3", 2, "must be larger");
    expect_failure("--resume out/checkpoint.safetensors --epochs 3 --lr 1", 2, "cannot change it");
    run_well("--resume out/checkpoint.safetensors --epochs 3");
}

TEST_F(CifarTrain, RefusesBrokenCheckpoints) {
    run_well(training("--max-steps 2 --output out"));
    const std::string good = bytes("out/checkpoint.safetensors");
    const auto put = [&](const std::string& content) {
        std::ofstream(in("broken.safetensors"), std::ios::binary) << content;
    };
    for (const std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{500}, good.size() - 1}) {
        put(good.substr(0, length));
        expect_failure("--resume broken.safetensors", 1, "broken.safetensors");
        expect_failure("--eval broken.safetensors", 1, "broken.safetensors");
    }
    put(std::string(8, '\xff') + good);
    expect_failure("--resume broken.safetensors", 1, "claims a header");
    expect_failure("--resume absent.safetensors", 1, "No such file");
    // Nothing is left to do, in the middle of an epoch.
    expect_failure("--resume out/checkpoint.safetensors --max-steps 2", 2, "must be larger");
    // Other data than the checkpoint's.
    write_cifar(in("other"), 2 * kPerFile, kTest);
    run_well(training("--epochs 2 --max-steps 8 --output two"));
    expect_failure("--resume two/checkpoint.safetensors --data other", 1, "was trained on 100 CIFAR-10");
}

TEST_F(CifarTrain, BadInputGetsOneSentence) {
    expect_failure("--quant standart", 2, "standard");
    expect_failure("--data cifar --model resnet_21 --output none", 2, "resnet");
    expect_failure("--data absent --model resnet_21", 2, "resnet");
    expect_failure("--data cifar --model simple --max-steps 100000 --dump-step absent/dump", 1,
                   "absent/dump");
    expect_failure("--data cifar --model alexnett --output none", 2, "alexnet");
    expect_failure("--data absent --output none", 1, "absent");
    expect_failure("--data cifar --model simple --batch-size 16 --epochs 1 --max-steps 8 --dump-step dump", 2,
                   "more than the 7 steps");
    expect_failure("--data cifar --model simple --dump-step cifar/test_batch.bin", 2, "is no step dump");
    expect_failure(training("--output /proc/none"), 1, "/proc/none");
    expect_failure(training("--output cifar/test_batch.bin"), 1, "cifar/test_batch.bin");
    std::ofstream(in("cifar/test_batch.bin"), std::ios::app) << "x";
    expect_failure(training("--output none"), 1, "test_batch.bin");
    EXPECT_FALSE(exists("none"));
}

TEST_F(CifarTrain, ALossThatIsNotFiniteKeepsTheLastCheckpoint) {
    expect_failure(training("--lr 1000 --output wild"), 1, "not finite");
    run_well(training("--epochs 2 --max-steps 9 --output out"));
    // One weight becomes infinite, as after a step too far.
    std::string content = bytes("out/checkpoint.safetensors");
    {
        const SafetensorsFile file(in("out/checkpoint.safetensors"));
        const float infinity = std::numeric_limits<float>::infinity();
        const std::size_t data_start = content.size() - [&] {
            std::uint64_t end = 0;
            for (const auto& item : file.entries()) end = std::max(end, item.second.end);
            return end;
        }();
        std::memcpy(content.data() + data_start + file.entries().at("fc3.bias").begin, &infinity,
                    sizeof infinity);
    }
    std::ofstream(in("out/checkpoint.safetensors"), std::ios::binary) << content;
    const std::string metrics = bytes("out/metrics.csv");
    expect_failure("--resume out/checkpoint.safetensors", 1, "the gradient of conv1.weight is not finite");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == content);
    EXPECT_EQ(bytes("out/metrics.csv"), metrics);
}

TEST_F(CifarTrain, AFullDiskKeepsTheLastCheckpoint) {
    std::filesystem::create_directory(in("small"));
    // Room for one checkpoint of half a megabyte, not for its successor beside it.
    if (mount("tmpfs", in("small").c_str(), "tmpfs", 0, "size=800k") != 0)
        GTEST_SKIP() << "mounting a small file system needs more rights";
    const Outcome outcome = run(training("--epochs 3 --output small/out"));
    const std::string kept = bytes("small/out/checkpoint.safetensors");
    const bool leftover = exists("small/out/checkpoint.safetensors.tmp");
    umount(in("small").c_str());
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
    EXPECT_FALSE(leftover);
    run_well(training("--epochs 3 --max-steps 7 --output whole"));
    EXPECT_TRUE(kept == bytes("whole/checkpoint.safetensors"));
}

TEST_F(CifarTrain, ADeviceThatIsNotThere) {
    const Outcome outcome = run(training("--device cuda --max-steps 1 --output gpu"));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("CUDA"), std::string::npos) << outcome.err;
    EXPECT_FALSE(exists("gpu"));
}

class DumpStep : public CifarTrain {
  protected:
    std::vector<float> floats(const SafetensorsFile& file, const std::string& name) {
        const auto& entry = file.entries().at(name);
        EXPECT_EQ(entry.dtype, DType::f32) << name;
        std::vector<float> values(entry.bytes() / sizeof(float));
        file.read(entry, std::as_writable_bytes(std::span(values)));
        return values;
    }
};

TEST_F(DumpStep, HoldsAStepThatCanBeRedone) {
    run_well(
        "--data cifar --model resnet_8 --quant standard --batch-size 16 --threads 2 --nesterov --max-steps 2 "
        "--dump-step dump");
    const SafetensorsFile file(in("dump"));
    EXPECT_FALSE(exists("runs"));
    EXPECT_EQ(file.metadata().at("dropout"), "0");
    EXPECT_EQ(file.metadata().at("step"), "1");
    EXPECT_EQ(file.metadata().at("quant"), "standard");
    using Extents = std::vector<std::int64_t>;
    EXPECT_EQ(file.entries().at("input").shape, (Extents{16, 3, 32, 32}));
    EXPECT_EQ(file.entries().at("labels").dtype, DType::i64);
    EXPECT_EQ(file.entries().at("labels").shape, (Extents{16}));
    EXPECT_EQ(file.entries().at("logits").shape, (Extents{16, 10}));
    EXPECT_EQ(file.entries().at("loss").shape, (Extents{}));
    EXPECT_EQ(file.entries().at("buffer_after.bn1.running_mean").shape, (Extents{16}));
    EXPECT_NE(floats(file, "buffer_before.bn1.running_mean"), floats(file, "buffer_after.bn1.running_mean"));
    EXPECT_NE(floats(file, "grad.conv1.weight"), floats(file, "quantized_grad.conv1.weight"));

    const double lr = std::stod(file.metadata().at("lr")),
                 momentum = std::stod(file.metadata().at("momentum"));
    const double decay = std::stod(file.metadata().at("weight_decay"));
    // A handful of float roundings of values near the size of the result.
    constexpr double kRounding = 1e-6;
    const auto p = floats(file, "param_before.layer1.0.conv1.weight");
    const auto m = floats(file, "momentum_before.layer1.0.conv1.weight");
    const auto g = floats(file, "quantized_grad.layer1.0.conv1.weight");
    const auto p_after = floats(file, "param_after.layer1.0.conv1.weight");
    const auto m_after = floats(file, "momentum_after.layer1.0.conv1.weight");
    for (std::size_t i = 0; i < p.size(); ++i) {
        const double d = g[i] + decay * p[i];
        const double moved = momentum * m[i] + d;
        EXPECT_NEAR(m_after[i], moved,
                    kRounding * (std::abs(moved) + std::abs(d) + std::abs(momentum * m[i])));
        EXPECT_NEAR(p_after[i], p[i] - lr * (d + momentum * moved),
                    kRounding * (std::abs(p[i]) + std::abs(d)));
    }
}

TEST_F(DumpStep, LossIsThatOfTheLogits) {
    run_well("--data cifar --model simple --precision bf16 --batch-size 16 --threads 2 --dump-step dump");
    const SafetensorsFile file(in("dump"));
    const auto logits = floats(file, "logits");
    std::vector<std::int64_t> labels(16);
    file.read(file.entries().at("labels"), std::as_writable_bytes(std::span(labels)));
    double loss = 0.0;
    for (std::size_t n = 0; n < labels.size(); ++n) {
        double sum = 0.0;
        for (std::size_t k = 0; k < 10; ++k) sum += std::exp(static_cast<double>(logits[n * 10 + k]));
        loss += std::log(sum) - logits[n * 10 + static_cast<std::size_t>(labels[n])];
    }
    // The stored loss is a float.
    EXPECT_NEAR(floats(file, "loss").at(0), loss / 16.0, 1e-6);
    EXPECT_EQ(floats(file, "grad.conv1.weight"), floats(file, "quantized_grad.conv1.weight"));
    EXPECT_EQ(file.metadata().at("precision"), "bf16");
}

}  // namespace
}  // namespace qstep

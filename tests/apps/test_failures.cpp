// cifar_train where something is wrong: one clear sentence, the right exit status, nothing lost.
#include <fstream>
#include <limits>

#include "tests/apps/cifar_train_fixture.h"

namespace qstep {
namespace {

TEST_F(CifarTrain, NeverReplacesANewerCheckpoint) {
    run_well(training("--max-steps 2 --output out"));
    std::filesystem::copy_file(in("out/checkpoint.safetensors"), in("out/early.safetensors"));
    run_well("--resume out/checkpoint.safetensors --max-steps 4");
    const std::string newer = bytes("out/checkpoint.safetensors");
    expect_failure("--resume out/early.safetensors --max-steps 4", 2, "would be replaced");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == newer);
    // One of the same step, or one that cannot be read, is nothing to lose.
    std::filesystem::copy_file(in("out/checkpoint.safetensors"), in("out/same.safetensors"));
    run_well("--resume out/same.safetensors --max-steps 5");
    std::ofstream(in("out/checkpoint.safetensors")) << "broken";
    run_well("--resume out/early.safetensors --max-steps 3");
    EXPECT_EQ(stored_step("out/checkpoint.safetensors"), 3);
}

TEST_F(CifarTrain, NeverMixesTwoRuns) {
    run_well(training("--max-steps 2 --output out"));
    const std::string before = bytes("out/checkpoint.safetensors");
    expect_failure(training("--max-steps 2 --output out"), 2, "of another run");
    EXPECT_EQ(bytes("out/checkpoint.safetensors"), before);
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

TEST_F(CifarTrain, OnlyItsOwnDataContinueARun) {
    run_well(training("--epochs 2 --max-steps 8 --output out"));
    const std::string before = bytes("out/checkpoint.safetensors");
    for (const char* name : {"data_batch_3.bin", "test_batch.bin"}) {
        std::filesystem::remove_all(in("other"));
        std::filesystem::copy(in("cifar"), in("other"));
        std::fstream file(in("other") / name, std::ios::binary | std::ios::in | std::ios::out);
        file.seekp(100);
        file.put('\0');
        file.close();
        expect_failure(
            "--resume out/checkpoint.safetensors --data other", 1,
            "other images or labels than these 100 CIFAR-10 training images and 30 CIFAR-10 test images");
        EXPECT_TRUE(bytes("out/checkpoint.safetensors") == before);
    }
    // A checkpoint of before fingerprints existed is believed.
    std::string older = before;
    const std::size_t at = older.find("fingerprint");
    ASSERT_NE(at, std::string::npos);
    older[at] = 'F';
    std::filesystem::create_directory(in("older"));
    std::ofstream(in("older/checkpoint.safetensors"), std::ios::binary) << older;
    run_well("--resume older/checkpoint.safetensors --data other --max-steps 9");
    // Where the files lie does not matter.
    std::filesystem::rename(in("cifar"), in("moved"));
    run_well("--resume out/checkpoint.safetensors --data moved");
}

TEST_F(CifarTrain, RefusesProgressThatIsNotItsDatas) {
    run_well(training("--epochs 2 --max-steps 8 --output out"));
    std::string content = bytes("out/checkpoint.safetensors");
    const std::string whole = content;
    const auto put = [&](const std::string& stored) {
        const std::size_t at = whole.find(stored);
        ASSERT_NE(at, std::string::npos) << stored;
        content = whole;
        content[at + stored.size() - 1] = '9';
        std::ofstream(in("out/checkpoint.safetensors"), std::ios::binary) << content;
    };
    put(R"(\"batch\":1)");
    expect_failure("--resume out/checkpoint.safetensors", 1, "step 9 of epoch 2");
    put(R"(\"step\":8)");
    expect_failure("--resume out/checkpoint.safetensors", 1,
                   "step 1 of epoch 2, step 9 in all, which does not fit");
}

TEST_F(CifarTrain, AScheduleThatEndedHasNothingToContinue) {
    run_well(training("--epochs 1 --lr-schedule cosine --output out"));
    expect_failure("--resume out/checkpoint.safetensors", 2, "its schedule ends there");
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
    EXPECT_FALSE(exists("wild/report.html"));
    run_well(training("--epochs 2 --max-steps 9 --output out"));
    // One weight becomes infinite, as after a step too far.
    set_first("out/checkpoint.safetensors", "fc3.bias", std::numeric_limits<float>::infinity());
    const std::string content = bytes("out/checkpoint.safetensors");
    const std::string metrics = bytes("out/metrics.csv");
    expect_failure("--resume out/checkpoint.safetensors", 1, "the gradient of conv1.weight is not finite");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == content);
    EXPECT_EQ(bytes("out/metrics.csv"), metrics);
    const std::string report = bytes("out/report.html");
    EXPECT_NE(report.find("ended in an error: the gradient of conv1.weight is not finite"),
              std::string::npos);
    EXPECT_NE(report.find("1 of 2 epochs"), std::string::npos);
}

TEST_F(CifarTrain, ErrorFeedbackThatGrewIsNamedWhereverItShows) {
    const std::string line =
        training("--levels 2 --bucket-size -1 --error-feedback --lr 1e-4 --momentum 0 --epochs 2 --output ");
    // The next step's weights are huge; the steps behind it, or the test images, show it.
    run_well(line + "steps --max-steps 3");
    run_well(line + "test --max-steps 6");
    for (const char* folder : {"steps", "test"}) {
        const std::string checkpoint = std::string(folder) + "/checkpoint.safetensors";
        set_first(checkpoint, "residual.conv1.weight", 3e38f);
        const Outcome outcome = run("--resume " + checkpoint);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("a smaller --ef-alpha"), std::string::npos) << outcome.err;
        EXPECT_EQ(outcome.err.find("-nan"), std::string::npos) << outcome.err;
    }
}

TEST_F(CifarTrain, AFolderIsAnsweredWithItsCheckpoint) {
    run_well(training("--max-steps 1 --output out"));
    for (const char* option : {"--resume", "--eval"})
        expect_failure(std::string(option) + " out", 2,
                       "out is a folder; the checkpoint in it is out/checkpoint.safetensors");
    expect_failure("--eval cifar", 1, "it is not a regular file");
}

TEST_F(CifarTrain, WeightsThatAreNotFiniteAreNeitherSavedNorDumped) {
    expect_failure("--data cifar --model simple --batch-size 16 --lr 1000 --max-steps 4 --dump-step dump", 1,
                   "nothing was dumped");
    EXPECT_FALSE(exists("dump"));
    // A momentum from which the epoch's last step makes a weight that overflows on the test images.
    run_well(training("--lr 1 --quant none --epochs 1 --max-steps 6 --output large"));
    set_first("large/checkpoint.safetensors", "momentum.conv1.weight", 3e38f);
    const std::string large = bytes("large/checkpoint.safetensors");
    expect_failure("--resume large/checkpoint.safetensors --max-steps 7", 1,
                   "the loss on the test images is");
    EXPECT_TRUE(bytes("large/checkpoint.safetensors") == large);
    // One from which the next step makes an infinite weight.
    run_well(training("--lr 10 --quant none --max-steps 1 --output out"));
    set_first("out/checkpoint.safetensors", "momentum.fc3.bias", 3e38f);
    const std::string before = bytes("out/checkpoint.safetensors");
    expect_failure("--resume out/checkpoint.safetensors --max-steps 2", 1,
                   "fc3.bias is not finite after step 2");
    EXPECT_TRUE(bytes("out/checkpoint.safetensors") == before);
}

TEST_F(CifarTrain, ADumpReplacesNoFileOfAnotherKind) {
    run_well(training("--epochs 1 --save-model --output out"));
    const std::string before = bytes("out/model.safetensors");
    expect_failure("--data cifar --model simple --dump-step out/model.safetensors", 2, "is no step dump");
    EXPECT_TRUE(bytes("out/model.safetensors") == before);
    // An older dump is replaced.
    const std::string dump = "--data cifar --model simple --threads 2 --dump-step dump --max-steps ";
    run_well(dump + "1");
    const std::string first = bytes("dump");
    run_well(dump + "2");
    EXPECT_FALSE(bytes("dump") == first);
}

TEST_F(CifarTrain, SaysThatTheSystemAllowsFewerThreads) {
    setenv("OMP_THREAD_LIMIT", "1", 1);
    expect_failure(training("--max-steps 1 --output out"), 2, "OMP_THREAD_LIMIT allows 1");
    unsetenv("OMP_THREAD_LIMIT");
}

TEST_F(CifarTrain, ADeviceThatIsNotThere) {
    const Outcome outcome = run(training("--device cuda --max-steps 1 --output gpu"));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("CUDA"), std::string::npos) << outcome.err;
    EXPECT_FALSE(exists("gpu"));
}

}  // namespace
}  // namespace qstep

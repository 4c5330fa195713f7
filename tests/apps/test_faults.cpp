// cifar_train while something is taken from under it: the disk, the memory, its data, its folder. What was
// saved stays, and the run goes on from there to the bits of one that nothing happened to.
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/apps/cifar_train_fixture.h"

namespace qstep {
namespace {

/// A file system of its own in memory, where the rights to mount one are there.
class SmallDisk {
  public:
    SmallDisk(const std::filesystem::path& place, const std::string& size) : place_(place) {
        std::filesystem::create_directory(place);
        mounted_ = mount("tmpfs", place.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    }
    ~SmallDisk() {
        if (mounted_) umount2(place_.c_str(), MNT_DETACH);
    }
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    bool mounted() const { return mounted_; }
    /// Leaves so many bytes.
    void fill(std::uintmax_t spare = 0) const {
        std::ofstream filler(place_ / "filler", std::ios::binary);
        const std::string block(4096, 'x');
        while (filler << block && filler.flush()) {
        }
        filler.close();
        std::filesystem::resize_file(place_ / "filler",
                                     std::filesystem::file_size(place_ / "filler") - spare);
    }
    void empty() const { std::filesystem::remove(place_ / "filler"); }
    /// False when it stays as it is, busy all the time.
    bool make_read_only(bool read_only) const {
        for (int tries = 0; tries < 10000; ++tries) {
            if (mount(nullptr, place_.c_str(), nullptr, MS_REMOUNT | (read_only ? MS_RDONLY : 0), nullptr) ==
                0)
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return false;
    }

  private:
    std::filesystem::path place_;
    bool mounted_ = false;
};

constexpr const char* kNoRights = "mounting a small file system needs more rights";

class Faults : public CifarTrain {
  protected:
    // A run that has an end far away.
    static std::string long_training(const std::string& folder) {
        return training("--epochs 100000 --log-interval 1 --output " + folder);
    }
    // One that nothing happens to, in the folder "whole".
    void expect_as_undisturbed(const std::string& folder) {
        const std::string checkpoint = folder + "/checkpoint.safetensors";
        const std::string last = " --max-steps " + std::to_string(stored_step(checkpoint) + 9);
        run_well("--resume " + checkpoint + last);
        run_well(long_training("whole") + last);
        expect_same_run("whole", folder);
    }
};

TEST_F(Faults, AFullDiskKeepsTheLastCheckpoint) {
    // Room for one checkpoint of half a megabyte, not for its successor beside it.
    const SmallDisk disk(in("small"), "800k");
    if (!disk.mounted()) GTEST_SKIP() << kNoRights;
    expect_failure(training("--epochs 3 --output small/out"), 1, "No space left");
    EXPECT_FALSE(exists("small/out/checkpoint.safetensors.tmp"));
    run_well(training("--epochs 3 --max-steps 7 --output whole"));
    EXPECT_TRUE(bytes("small/out/checkpoint.safetensors") == bytes("whole/checkpoint.safetensors"));
}

TEST_F(Faults, ADiskThatFillsUpStopsTheMetrics) {
    const SmallDisk disk(in("small"), "4m");
    if (!disk.mounted()) GTEST_SKIP() << kNoRights;
    const std::string checkpoint = "small/out/checkpoint.safetensors";
    run_well(long_training("small/out") + " --max-steps 7");
    const std::string kept = bytes(checkpoint);
    // Without checkpoints the metrics are all that is written.
    Program program(CIFAR_TRAIN, words("--save-every 0 --resume " + checkpoint), folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 3/"));
    disk.fill();
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("cannot write small/out/metrics.csv: No space left"), std::string::npos)
        << outcome.err;
    EXPECT_TRUE(bytes(checkpoint) == kept);
    disk.empty();
    expect_as_undisturbed("small/out");
}

// One image a step: the disk is full before the epoch of 100 steps ends, so it is the events that meet it.
TEST_F(Faults, ADiskThatFillsUpStopsTheEvents) {
    const SmallDisk disk(in("small"), "4m");
    if (!disk.mounted()) GTEST_SKIP() << kNoRights;
    const std::string checkpoint = "small/out/checkpoint.safetensors";
    const std::string line = training("--batch-size 1 --epochs 2 --output ");
    const std::string logged = " --tensorboard --log-interval 1 --histogram-interval 1";
    run_well(line + "small/out --max-steps 7" + logged);
    const std::string kept = bytes(checkpoint);
    disk.fill(160 << 10);
    const Outcome outcome = run(("--resume " + checkpoint) + logged);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find("cannot write small/out/events.out.tfevents."), std::string::npos)
        << outcome.err;
    EXPECT_NE(outcome.err.find("No space left"), std::string::npos) << outcome.err;
    EXPECT_TRUE(bytes(checkpoint) == kept);
    disk.empty();
    run_well("--resume " + checkpoint + logged);
    run_well(line + "whole");
    expect_same_run("whole", "small/out");
}

TEST_F(Faults, ADiskThatBecomesReadOnly) {
    const SmallDisk disk(in("small"), "4m");
    if (!disk.mounted()) GTEST_SKIP() << kNoRights;
    Program program(CIFAR_TRAIN, words(long_training("small/out")), folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 3/"));
    ASSERT_TRUE(disk.make_read_only(true));
    const Outcome outcome = program.wait();
    EXPECT_EQ(outcome.status, 1);
    EXPECT_NE(outcome.err.find("Read-only file system"), std::string::npos) << outcome.err;
    expect_failure("--resume small/out/checkpoint.safetensors", 1, "small/out: Read-only file system");
    expect_failure(training("--output small/other"), 1, "small/other: Read-only file system");
    ASSERT_TRUE(disk.make_read_only(false));
    expect_as_undisturbed("small/out");
}

TEST_F(Faults, DataReplacedDuringARunDoNotReachIt) {
    std::filesystem::copy(in("cifar"), in("kept"));
    Program program(CIFAR_TRAIN, words(long_training("out")), folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 1/"));
    std::filesystem::rename(in("cifar/data_batch_2.bin"), in("cifar/data_batch_1.bin"));
    std::ofstream(in("cifar/test_batch.bin"), std::ios::binary) << "other";
    ASSERT_TRUE(program.wait_for_output("epoch 3/"));
    program.send(SIGTERM);
    EXPECT_EQ(program.wait().status, 143);
    expect_failure("--resume out/checkpoint.safetensors", 1, "data_batch_2.bin' is missing");
    std::filesystem::remove_all(in("cifar"));
    std::filesystem::rename(in("kept"), in("cifar"));
    expect_as_undisturbed("out");
}

TEST_F(Faults, TwoRunsAtOnceInOneFolder) {
    Program program(CIFAR_TRAIN, words(long_training("out")), folder_.path());
    ASSERT_TRUE(program.wait_for_output("epoch 2/"));
    const std::filesystem::path other = in("other");
    std::filesystem::create_directory(other);
    for (const std::string line : {"--data ../cifar --model simple --output ../out",
                                   "--data ../cifar --resume ../out/checkpoint.safetensors"}) {
        const Outcome outcome = run_program(CIFAR_TRAIN, words(line), other);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_NE(outcome.err.find("another run is using the folder ../out"), std::string::npos)
            << outcome.err;
    }
    program.send(SIGTERM);
    EXPECT_EQ(program.wait().status, 143);
    expect_as_undisturbed("out");
}

// From too little to load the program to enough for the run.
TEST_F(Faults, TooLittleMemoryGetsOneSentence) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "AddressSanitizer itself needs terabytes of addresses";
#endif
    const std::string line =
        "--data cifar --model resnet_8 --quant standard --batch-size 64 --threads 2 --max-steps 2";
    int failures = 0;
    Outcome outcome;
    for (int mebibytes = 40; outcome.status != 0; mebibytes += 20) {
        ASSERT_LE(mebibytes, 2000) << outcome.err;
        const std::string folder = "out" + std::to_string(mebibytes);
        const std::string command =
            fmt::format("ulimit -v {}; exec '{}' {} --output {}", mebibytes << 10, CIFAR_TRAIN, line, folder);
        outcome = run_program("/bin/bash", {"-c", command}, folder_.path());
        if (outcome.status == 0) break;
        ++failures;
        // 127: the system could not load the program's libraries.
        EXPECT_TRUE(outcome.status == 1 || outcome.status == 127) << mebibytes << " MiB: " << outcome.status;
        // Where threads cannot start, OpenMP has the say, and begins with an empty line.
        std::string_view sentence = outcome.err;
        sentence.remove_prefix(std::min(sentence.find_first_not_of('\n'), sentence.size()));
        EXPECT_EQ(std::ranges::count(sentence, '\n'), 1) << mebibytes << " MiB: " << outcome.err;
        EXPECT_FALSE(exists(folder + "/checkpoint.safetensors"));
    }
    EXPECT_GT(failures, 0);
}

}  // namespace
}  // namespace qstep

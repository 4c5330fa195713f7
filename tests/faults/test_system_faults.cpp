// What is left behind, and said, when the system fails in the middle of a file.
#include <gtest/gtest.h>

#include <cerrno>

#include "data/cifar10.h"
#include "engine/atomic_file.h"
#include "engine/error.h"
#include "engine/input_file.h"
#include "tests/data/data_fixture.h"
#include "tests/faults/failing_calls.h"
#include "train/event_file.h"
#include "train/run_folder.h"

namespace qstep {
namespace {

class SystemFaults : public testing::Test {
  protected:
    std::filesystem::path path() const { return folder_.path() / "file"; }
    void write(const std::string& text) const { write_text_file(path(), text); }
    std::size_t files() const {
        return static_cast<std::size_t>(
            std::distance(std::filesystem::directory_iterator(folder_.path()), {}));
    }
    // The sentence of the run error that `action` ends in while `name` fails, which it must.
    template <typename Action>
    static std::string sentence(const char* name, int error, Action&& action, int spared = 0) {
        const FailingCall fault(name, error, spared);
        const std::string said = error_of(ErrorKind::run, action);
        EXPECT_TRUE(fault.happened()) << name;
        return said;
    }

    TemporaryFolder folder_;
};

TEST_F(SystemFaults, AFileThatCannotBeFinishedLeavesTheOldOne) {
    write("old");
    for (const char* call : {"write", "fsync", "rename"}) {
        EXPECT_NE(sentence(call, EIO, [&] { write("new"); }).find("Input/output error"), std::string::npos);
        EXPECT_EQ(read_bytes(path()), "old") << call;
        EXPECT_EQ(files(), 1u) << call;
    }
}

// Behind the rename the new file is in place; whether it stays there after a power cut is not known.
TEST_F(SystemFaults, WhatIsNotSureToLastIsSaid) {
    struct Late {
        const char* call;
        int error, spared;
    };
    // The temporary file is opened and synced before the folder.
    for (const Late& late : {Late{"close", EIO, 0}, {"open", EMFILE, 1}, {"fsync", EIO, 1}}) {
        write("old");
        const std::string said = sentence(
            late.call, late.error, [&] { write("new"); }, late.spared);
        EXPECT_NE(said.find("cannot write " + path().string()), std::string::npos) << said;
        EXPECT_EQ(read_bytes(path()), "new") << late.call;
        EXPECT_EQ(files(), 1u) << late.call;
    }
    // Folders of some file systems have nothing to sync.
    const FailingCall fault("fsync", EINVAL, 1);
    write("newer");
    EXPECT_TRUE(fault.happened());
    EXPECT_EQ(read_bytes(path()), "newer");
}

TEST_F(SystemFaults, InterruptedAndShortCallsGoOn) {
    const std::string text = "all of these bytes, in this order";
    const auto expect_whole = [&](const char* name, int error, int times, const auto& action) {
        const FailingCall fault(name, error, 0, times);
        action();
        EXPECT_TRUE(fault.happened()) << name;
    };
    for (const auto& [error, times] : {std::pair{EINTR, 3}, {kHalfOfTheBytes, 4}}) {
        expect_whole("write", error, times, [&] { write(text); });
        EXPECT_EQ(read_bytes(path()), text);
        expect_whole("pread", error, times, [&] {
            std::string read(text.size(), '\0');
            InputFile(path()).read(0, std::as_writable_bytes(std::span(read)));
            EXPECT_EQ(read, text);
        });
        write_cifar_files(folder_.path() / "cifar");
        const DataSplits expected = read_cifar10(folder_.path() / "cifar");
        expect_whole("read", error, times, [&] {
            const DataSplits data = read_cifar10(folder_.path() / "cifar");
            EXPECT_TRUE(data.train.images == expected.train.images);
            EXPECT_EQ(data.train.labels, expected.train.labels);
        });
    }
}

TEST_F(SystemFaults, AFileThatCannotBeReadIsNamed) {
    write("text");
    std::byte first;
    EXPECT_EQ(sentence("pread", EIO,
                       [&] {
                           InputFile(path()).read(0, {&first, 1});
                       }),
              "cannot read " + path().string() + ": Input/output error");
    EXPECT_NE(sentence("fstat", EIO, [&] { InputFile file(path()); }).find("cannot open " + path().string()),
              std::string::npos);
    const std::filesystem::path cifar = folder_.path() / "cifar";
    write_cifar_files(cifar);
    for (const char* call : {"read", "fstat"})
        EXPECT_EQ(sentence(call, EIO, [&] { read_cifar10(cifar); }),
                  fmt::format("The CIFAR-10 file '{}' cannot be read: Input/output error.",
                              (cifar / kCifarFiles[0]).string()));
    // When the file is looked at again behind its last byte.
    EXPECT_NE(sentence(
                  "fstat", EIO, [&] { read_cifar10(cifar); }, 6)
                  .find("changed while it was read"),
              std::string::npos);
}

TEST_F(SystemFaults, AnEventFileGoesOnAndSaysWhyItCannot) {
    const auto record_bytes = [&](int error, int times) {
        const FailingCall fault("write", error, 0, times);
        EventFile file(folder_.path(), 1);
        EventValues values;
        values.scalar("loss", 1.5);
        file.add(1, values);
        EXPECT_EQ(fault.happened(), times > 0);
        return std::filesystem::file_size(file.path());
    };
    const auto whole = record_bytes(EINTR, 0);
    EXPECT_EQ(record_bytes(EINTR, 2), whole);
    EXPECT_EQ(record_bytes(kHalfOfTheBytes, 2), whole);
    EXPECT_NE(sentence("write", ENOSPC, [&] { EventFile(folder_.path(), 1); }).find("No space left"),
              std::string::npos);
}

TEST_F(SystemFaults, AMachineWithoutANameStillHasEventFiles) {
    const FailingCall fault("gethostname", ENAMETOOLONG);
    const EventFile file(folder_.path(), 1);
    EXPECT_TRUE(fault.happened());
    EXPECT_NE(file.path().filename().string().find(".host."), std::string::npos) << file.path();
}

TEST_F(SystemFaults, AFileSystemWithoutLocksStillTakesRuns) {
    const FailingCall fault("flock", ENOLCK);
    EXPECT_EQ(make_run_folder((folder_.path() / "run").string(), "x").path, folder_.path() / "run");
    EXPECT_TRUE(fault.happened());
}

TEST_F(SystemFaults, AFolderThatCannotBeOpenedTakesNoRun) {
    EXPECT_NE(sentence("open", EMFILE, [&] { make_run_folder((folder_.path() / "run").string(), "x"); })
                  .find("cannot open the folder"),
              std::string::npos);
}

}  // namespace
}  // namespace qstep

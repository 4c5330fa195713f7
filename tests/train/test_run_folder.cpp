#include "train/run_folder.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

ErrorKind kind_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.kind();
    }
    ADD_FAILURE() << "no error";
    return ErrorKind::internal;
}

TEST(RunFolder, NeverMixesTwoRuns) {
    TemporaryFolder parent;
    const std::string path = (parent.path() / "a" / "b").string();
    RunFolder folder = make_run_folder(path, "unused");
    EXPECT_TRUE(std::filesystem::is_directory(folder.path));
    EXPECT_EQ(kind_of([&] { make_run_folder(path, "unused"); }), ErrorKind::run);
    EXPECT_EQ(kind_of([&] { folder_of_checkpoint(folder.checkpoint()); }), ErrorKind::run);
    folder.lock.reset();
    std::ofstream(folder.path / "notes.txt") << "not of a run";
    make_run_folder(path, "unused");
    for (const auto& file :
         {folder.checkpoint(), folder.metrics(), folder.configuration(), folder.model(), folder.report()}) {
        std::ofstream(file) << "x";
        EXPECT_EQ(kind_of([&] { make_run_folder(path, "unused"); }), ErrorKind::usage) << file;
        std::filesystem::remove(file);
    }
}

TEST(RunFolder, FreshNamesDoNotCollide) {
    TemporaryFolder parent;
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(parent.path());
    const RunFolder first = make_run_folder("", "simple-none");
    const RunFolder second = make_run_folder("", "simple-none");
    std::filesystem::current_path(before);
    EXPECT_NE(first.path, second.path);
    EXPECT_EQ(first.path.string().find("runs/simple-none-20"), 0u) << first.path;
}

TEST(RunFolder, RefusesWhatCannotBeAFolder) {
    TemporaryFolder parent;
    const auto file = parent.path() / "file";
    std::ofstream(file) << "x";
    EXPECT_EQ(kind_of([&] { make_run_folder(file.string(), "x"); }), ErrorKind::run);
    EXPECT_EQ(kind_of([&] { make_run_folder((file / "below").string(), "x"); }), ErrorKind::run);
    EXPECT_EQ(kind_of([&] { make_run_folder("/proc/qstep", "x"); }), ErrorKind::run);
}

TEST(RunFolder, ACheckpointIsContinuedWhereItLies) {
    TemporaryFolder parent;
    EXPECT_EQ(folder_of_checkpoint(parent.path() / "c.safetensors").path, parent.path());
    EXPECT_EQ(folder_of_checkpoint("c.safetensors").path, ".");
}

}  // namespace
}  // namespace qstep

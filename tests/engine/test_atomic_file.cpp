#include "engine/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

std::size_t file_count(const std::filesystem::path& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

std::string sentence_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run);
        return error.what();
    }
    return "no error";
}

TEST(AtomicFile, ReplacesAsAWhole) {
    TemporaryFolder folder;
    const auto path = folder.path() / "text";
    write_text_file(path, "old");
    {
        AtomicFile file(path);
        file.write("new");
        EXPECT_EQ(read_bytes(path), "old");
        file.write("er");
        file.commit();
    }
    EXPECT_EQ(read_bytes(path), "newer");
    EXPECT_EQ(file_count(folder.path()), 1u);
}

TEST(AtomicFile, LeavesNothingWhenAbandoned) {
    TemporaryFolder folder;
    const auto path = folder.path() / "text";
    { AtomicFile(path).write("half"); }
    EXPECT_EQ(file_count(folder.path()), 0u);
}

TEST(AtomicFile, SaysWhyItCannotWrite) {
    TemporaryFolder folder;
    EXPECT_NE(
        sentence_of([&] { write_text_file(folder.path() / "absent" / "text", "x"); }).find("No such file"),
        std::string::npos);
    EXPECT_NE(sentence_of([&] { write_text_file(folder.path(), "x"); }).find("not a regular file"),
              std::string::npos);
    EXPECT_NE(sentence_of([&] { write_text_file("/dev/full", "x"); }).find("not a regular file"),
              std::string::npos);
}

TEST(AtomicFile, UnwritableFolder) {
    TemporaryFolder folder;
    std::filesystem::permissions(folder.path(), std::filesystem::perms::none);
    // Root may write into every folder, so stop being root for a moment.
    constexpr uid_t kNobody = 65534;
    const bool was_root = geteuid() == 0;
    if (was_root && seteuid(kNobody) != 0) GTEST_SKIP() << "root cannot drop its rights here";
    const std::string sentence = sentence_of([&] { write_text_file(folder.path() / "text", "x"); });
    if (was_root && seteuid(0) != 0) FAIL();
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_all);
    EXPECT_NE(sentence.find("Permission denied"), std::string::npos) << sentence;
}

TEST(AtomicFile, FullDiskKeepsTheOldFile) {
    TemporaryFolder folder;
    if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
        GTEST_SKIP() << "mounting a small file system needs more rights";
    const auto path = folder.path() / "text";
    write_text_file(path, "old");
    const std::string sentence = sentence_of([&] { write_text_file(path, std::string(1 << 20, 'x')); });
    const std::string content = read_bytes(path);
    const std::size_t files = file_count(folder.path());
    umount(folder.path().c_str());
    EXPECT_NE(sentence.find("No space left"), std::string::npos) << sentence;
    EXPECT_EQ(content, "old");
    EXPECT_EQ(files, 1u);
}

TEST(AtomicFile, KilledWhileWritingLeavesAWholeFile) {
    TemporaryFolder folder;
    const auto path = folder.path() / "text";
    constexpr std::size_t kBytes = std::size_t{4} << 20;
    write_text_file(path, std::string(kBytes, 'a'));
    for (int round = 0; round < 10; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0)
            for (char c = 'b';; c = c == 'z' ? 'b' : static_cast<char>(c + 1))
                write_text_file(path, std::string(kBytes, c));
        std::this_thread::sleep_for(std::chrono::milliseconds(5 + 3 * round));
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        const std::string content = read_bytes(path);
        ASSERT_EQ(content.size(), kBytes);
        EXPECT_EQ(content.find_first_not_of(content[0]), std::string::npos);
    }
    write_text_file(path, "whole");
    EXPECT_EQ(file_count(folder.path()), 1u);
}

}  // namespace
}  // namespace qstep

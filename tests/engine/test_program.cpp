// What a program's main() makes of exceptions and of output that nobody takes.
#include "engine/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <new>
#include <system_error>

#include "engine/error.h"
#include "engine/input_file.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

struct End {
    int status;
    std::string said;
};

End end_of(const std::function<int(const std::vector<std::string>&)>& body) {
    std::string name = "program", argument = "--option";
    char* arguments[] = {name.data(), argument.data(), nullptr};
    testing::internal::CaptureStderr();
    const int status = program_main("program", 2, arguments, body);
    return {status, testing::internal::GetCapturedStderr()};
}

TEST(Program, HandsOnArgumentsAndStatus) {
    const End end = end_of([](const std::vector<std::string>& arguments) {
        EXPECT_EQ(arguments, std::vector<std::string>{"--option"});
        return 7;
    });
    EXPECT_EQ(end.status, 7);
    EXPECT_EQ(end.said, "");
}

TEST(Program, ExceptionsBecomeOneLine) {
    const auto expect = [](int status, const std::string& said, const std::function<void()>& action) {
        const End end = end_of([&](const auto&) {
            action();
            return 0;
        });
        EXPECT_EQ(end.status, status) << said;
        EXPECT_EQ(end.said, "program: " + said + "\n");
    };
    expect(2, "no such option", [] { fail_usage("no such option"); });
    expect(1, "no such file", [] { fail_run("no such file"); });
    expect(1, "the machine has no memory left", [] { throw std::bad_alloc(); });
    expect(1, "the machine has no room for another thread",
           [] { throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again)); });
    expect(1, "Input/output error", [] { throw std::system_error(EIO, std::generic_category()); });
    expect(1, "anything else", [] { throw std::runtime_error("anything else"); });
}

TEST(Program, OutputThatIsLostIsAFailure) {
    std::fflush(stdout);
    const int kept = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full < 0) GTEST_SKIP() << "there is no /dev/full";
    dup2(full, STDOUT_FILENO);
    // Lost when the program ends, and lost before that.
    const End late = end_of([](const auto&) { return std::fputs("result\n", stdout) < 0; });
    const End early = end_of([](const auto&) {
        std::fputs("result\n", stdout);
        std::fflush(stdout);
        return 0;
    });
    std::clearerr(stdout);
    const End failed = end_of([](const auto&) {
        std::fputs("result\n", stdout);
        return 3;
    });
    std::fflush(stdout);
    std::clearerr(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(full);
    for (const End& end : {late, early}) {
        EXPECT_EQ(end.status, 1);
        EXPECT_EQ(end.said, "program: cannot write to standard output\n");
    }
    EXPECT_EQ(failed.status, 3);
    EXPECT_EQ(failed.said, "");
}

TEST(InputFile, NoticesAFileThatBecameShorter) {
    TemporaryFolder folder;
    const auto path = folder.path() / "file";
    std::ofstream(path) << "0123456789";
    const InputFile file(path);
    std::filesystem::resize_file(path, 4);
    std::array<std::byte, 10> bytes;
    try {
        file.read(0, bytes);
        FAIL() << "nothing was noticed";
    } catch (const Error& error) {
        EXPECT_EQ(error.what(), path.string() + " became shorter while it was read");
    }
}

}  // namespace
}  // namespace qstep

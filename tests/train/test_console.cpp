// What a person sees, on a terminal and elsewhere. The terminal is a pseudo-terminal of 60 columns.
#include "train/console.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace qstep {
namespace {

constexpr int kColumns = 60;

Progress progress_at(std::int64_t batch) {
    Progress progress;
    progress.step = progress.batch = batch;
    progress.images = 64 * batch;
    return progress;
}

// A run of 100 batches of which two are shown, the first with `columns` on the terminal.
void show(Console& console) {
    console.start(progress_at(0), 100);
    console.progress(progress_at(10), 2.25, 12.5, 0.1);
    console.line("a line of its own");
    console.progress(progress_at(20), 2.125, 13.5, 0.1);
    console.epoch({1, 100, 0.1, 2.0, 25.0, 1.75, 37.5, 0.5}, 3661.0, 800.0);
}

// What `show` writes to a terminal of this width; empty where there are none.
std::string on_a_terminal(unsigned short columns) {
    const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return "";
    const int other_end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    if (other_end < 0) return "";
    const winsize window{24, columns, 0, 0};
    ioctl(terminal, TIOCSWINSZ, &window);
    std::fflush(stdout);
    const int kept = dup(STDOUT_FILENO);
    dup2(other_end, STDOUT_FILENO);
    Console console(3, 100, 10);
    show(console);
    EXPECT_TRUE(console.due(progress_at(100)));
    EXPECT_FALSE(console.due(progress_at(20))) << "just shown";
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(other_end);
    // Up to where the closed end is noticed, which is an error.
    std::string written;
    char part[512];
    for (ssize_t count = 0; (count = read(terminal, part, sizeof part)) > 0;)
        written.append(part, static_cast<std::size_t>(count));
    close(terminal);
    return written;
}

TEST(Console, KeepsALiveLineOnATerminal) {
    const std::string text = on_a_terminal(kColumns);
    if (text.empty()) GTEST_SKIP() << "there are no pseudo-terminals here";
    const std::string whole = "epoch 1/3  step 10/100  loss 2.2500  accuracy 12.50 %  lr 0.1  ";
    // One column less than there is, so that it does not wrap, and overwritten by the next line.
    EXPECT_EQ(text.find("\r\x1b[K" + whole.substr(0, kColumns - 1) + "\r\x1b[Ka line of its own\r\n"), 0u)
        << text;
    EXPECT_NE(text.find("\r\x1b[Kepoch 1/3  step 20/100"), std::string::npos) << text;
    EXPECT_NE(text.find("\r\x1b[Kepoch 1/3  train loss 2.0000"), std::string::npos) << text;
    // Where the width is not known, or there is room, the line is whole.
    for (const unsigned short columns : {0, 500})
        EXPECT_NE(on_a_terminal(columns).find(whole), std::string::npos) << columns;
}

TEST(Console, WritesPlainLinesElsewhere) {
    testing::internal::CaptureStdout();
    Console console(3, 100, 10);
    show(console);
    EXPECT_TRUE(console.due(progress_at(30)));
    EXPECT_FALSE(console.due(progress_at(31)));
    const std::string text = testing::internal::GetCapturedStdout();
    EXPECT_EQ(text.find("epoch 1/3  step 10/100  loss 2.2500  accuracy 12.50 %  lr 0.1  "), 0u) << text;
    EXPECT_NE(text.find(" left\na line of its own\nepoch 1/3  step 20/100"), std::string::npos) << text;
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << text;
}

}  // namespace
}  // namespace qstep

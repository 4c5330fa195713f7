#include "train/signals.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace qstep {
namespace {

TEST(StopSignals, RemembersTheFirst) {
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
        const StopSignals signals;
        EXPECT_EQ(signals.received(), 0);
        raise(number);
        EXPECT_EQ(signals.received(), number);
    }
}

// Ctrl-C ends the reader of a pipe too, so both may come, in either order.
TEST(StopSignals, AReaderThatHasGoneGivesWayToAWish) {
    {
        const StopSignals signals;
        raise(SIGPIPE);
        raise(SIGPIPE);
        raise(SIGINT);
        EXPECT_EQ(signals.received(), SIGINT);
    }
    const StopSignals signals;
    raise(SIGTERM);
    raise(SIGPIPE);
    EXPECT_EQ(signals.received(), SIGTERM);
}

TEST(StopSignals, ASecondWishEndsTheProcess) {
    // Other tests may have left OpenMP's threads behind.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(
        {
            const StopSignals signals;
            raise(SIGINT);
            raise(SIGTERM);
        },
        testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignals, LeavesAHangupThatIsIgnoredAlone) {
    const auto former = signal(SIGHUP, SIG_IGN);
    {
        const StopSignals signals;
        raise(SIGHUP);
        EXPECT_EQ(signals.received(), 0);
    }
    EXPECT_EQ(signal(SIGHUP, former), SIG_IGN);
}

TEST(StopSignals, RestoresTheFormerHandlers) {
    static volatile sig_atomic_t seen = 0;
    const auto former = signal(SIGTERM, [](int) { seen = 1; });
    {
        const StopSignals signals;
        raise(SIGTERM);
        EXPECT_EQ(signals.received(), SIGTERM);
        EXPECT_EQ(seen, 0);
    }
    raise(SIGTERM);
    EXPECT_EQ(seen, 1);
    signal(SIGTERM, former);
}

}  // namespace
}  // namespace qstep

#include "train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <iterator>

namespace qstep {

namespace {

volatile sig_atomic_t g_received = 0;
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
struct sigaction g_former[std::size(kSignals)];

extern "C" void remember(int number) {
    // Ctrl-C ends the reader of a pipe too, so SIGPIPE may come first or second, and with every line.
    if (number == SIGPIPE) {
        if (g_received == 0) g_received = number;
        return;
    }
    if (g_received != 0 && g_received != SIGPIPE) _exit(128 + number);
    g_received = number;
}

}  // namespace

StopSignals::StopSignals() {
    g_received = 0;
    struct sigaction action {};
    action.sa_handler = remember;
    // Reads and writes in progress go on: the run stops between steps, not inside a system call.
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < std::size(kSignals); ++i) {
        sigaction(kSignals[i], &action, &g_former[i]);
        // nohup has asked for the hangup to be ignored.
        if (kSignals[i] == SIGHUP && g_former[i].sa_handler == SIG_IGN)
            sigaction(SIGHUP, &g_former[i], nullptr);
    }
}

StopSignals::~StopSignals() {
    for (std::size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &g_former[i], nullptr);
}

int StopSignals::received() const {
    return g_received;
}

}  // namespace qstep

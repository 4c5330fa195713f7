#include "train/signals.h"

#include <signal.h>
#include <unistd.h>

namespace qstep {

namespace {

volatile sig_atomic_t g_received = 0;
struct sigaction g_former_interrupt, g_former_terminate;

extern "C" void remember(int number) {
    if (g_received != 0) _exit(128 + number);
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
    sigaction(SIGINT, &action, &g_former_interrupt);
    sigaction(SIGTERM, &action, &g_former_terminate);
}

StopSignals::~StopSignals() {
    sigaction(SIGINT, &g_former_interrupt, nullptr);
    sigaction(SIGTERM, &g_former_terminate, nullptr);
}

int StopSignals::received() const {
    return g_received;
}

}  // namespace qstep

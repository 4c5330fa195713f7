// Ctrl-C, SIGTERM, a terminal and a reader of the output that have gone, as wishes that the run looks at
// between two steps.
#pragma once

namespace qstep {

/// While one exists, the first SIGINT, SIGTERM, SIGHUP or SIGPIPE is only remembered; a second one but
/// SIGPIPE ends the process at once with status 128 + its number. One at a time.
class StopSignals {
  public:
    StopSignals();
    /// Restores the former handlers.
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    /// The signal once one has come, else 0.
    int received() const;
};

}  // namespace qstep

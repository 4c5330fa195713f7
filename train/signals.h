// Ctrl-C and SIGTERM as a wish that the run looks at between two steps.
#pragma once

namespace qstep {

/// While one exists, the first SIGINT or SIGTERM is only remembered; a second one ends the process at once
/// with status 128 + its number. One at a time.
class StopSignals {
  public:
    StopSignals();
    /// Restores the former handlers.
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    /// SIGINT or SIGTERM once one has come, else 0.
    int received() const;
};

}  // namespace qstep

// System calls that fail on demand, for faults that no test can bring about on a healthy machine. They work
// in programs that are linked with --wrap for each of them (tests/faults/CMakeLists.txt).
#pragma once

#include <string>

namespace qstep {

/// What a call does instead of its error: as much as half of the bytes asked for.
inline constexpr int kHalfOfTheBytes = 0;

/// While it lives, calls of `name` (open, close, read, pread, write, fsync, rename, fstat, flock,
/// gethostname) set errno to `error` and return -1, after `spared` that do as they are told. One at a
/// time.
class FailingCall {
  public:
    FailingCall(std::string name, int error, int spared = 0, int times = 1 << 30);
    ~FailingCall();
    FailingCall(const FailingCall&) = delete;
    FailingCall& operator=(const FailingCall&) = delete;

    /// Whether the code under test came by.
    bool happened() const;
};

/// While it lives, one call of `name`, after `spared` others, raises the signal before it does as it is told.
/// Not beside a FailingCall.
class InterruptedCall {
  public:
    InterruptedCall(std::string name, int signal, int spared);
    ~InterruptedCall();
    InterruptedCall(const InterruptedCall&) = delete;
    InterruptedCall& operator=(const InterruptedCall&) = delete;

    bool happened() const;
};

}  // namespace qstep

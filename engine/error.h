// The one exception type, and the ways to throw it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace qstep {

/// Who has to act: `usage`, the person at the command line (exit status 2); `run`, something outside the
/// program stopped the run, such as data, disk or device (exit status 1); `internal`, a broken promise
/// inside the library (exit status 1, and a bug report).
enum class ErrorKind { usage, run, internal };

/// what() is one sentence. Internal errors carry the failed expression and file:line in it.
class Error : public std::runtime_error {
  public:
    /// `sentence` becomes what().
    Error(ErrorKind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

  private:
    ErrorKind kind_;
};

/// Throws a usage error: the caller's arguments make no sense. The sentence says what to do instead.
template <typename... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ErrorKind::usage, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws a run error: files, disks, devices or numbers did not do what the run needs.
template <typename... Args>
[[noreturn]] void fail_run(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ErrorKind::run, fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {
/// What QSTEP_CHECK throws with.
[[noreturn]] void fail_check(const char* expression, const char* file, int line, const std::string& sentence);
}  // namespace detail

}  // namespace qstep

/// QSTEP_CHECK(condition, format, args...): throws an internal Error naming the expression and file:line.
/// For the promises of functions; it stays on in release builds and belongs outside inner loops.
#define QSTEP_CHECK(condition, ...)                                                                  \
    do {                                                                                             \
        if (!(condition))                                                                            \
            ::qstep::detail::fail_check(#condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)); \
    } while (false)

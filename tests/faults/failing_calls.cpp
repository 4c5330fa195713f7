#include "tests/faults/failing_calls.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string_view>

namespace qstep {
namespace {

struct Fault {
    std::string name;
    int error = 0, spared = 0, times = 0;
    int signal = 0;  // raised instead of an error; 0: none
    bool happened = false;
};
Fault g_fault;

// Whether this call of `name` is one to fail; errno is set then.
bool fails(std::string_view name) {
    if (g_fault.name != name || g_fault.times == 0) return false;
    if (g_fault.spared-- > 0) return false;
    --g_fault.times;
    g_fault.happened = true;
    if (g_fault.signal != 0) {
        raise(g_fault.signal);
        return false;
    }
    errno = g_fault.error;
    return true;
}

// The same for calls that move bytes: `bytes` becomes what they may move.
bool fails(std::string_view name, std::size_t& bytes) {
    if (!fails(name)) return false;
    if (g_fault.error != kHalfOfTheBytes) return true;
    bytes = (bytes + 1) / 2;
    return false;
}

}  // namespace

FailingCall::FailingCall(std::string name, int error, int spared, int times) {
    g_fault = {std::move(name), error, spared, times, 0};
}

FailingCall::~FailingCall() {
    g_fault = {};
}

bool FailingCall::happened() const {
    return g_fault.happened;
}

InterruptedCall::InterruptedCall(std::string name, int signal, int spared) {
    g_fault = {std::move(name), 0, spared, 1, signal};
}

InterruptedCall::~InterruptedCall() {
    g_fault = {};
}

bool InterruptedCall::happened() const {
    return g_fault.happened;
}

}  // namespace qstep

// What the linker calls in the place of each, and what it calls the real ones.
extern "C" {

int __real_open(const char* path, int flags, ...);
int __real_close(int descriptor);
ssize_t __real_read(int descriptor, void* to, std::size_t bytes);
ssize_t __real_pread(int descriptor, void* to, std::size_t bytes, off_t offset);
ssize_t __real_write(int descriptor, const void* from, std::size_t bytes);
int __real_fsync(int descriptor);
int __real_rename(const char* from, const char* to);
int __real_fstat(int descriptor, struct stat* status);
int __real_flock(int descriptor, int operation);
int __real_gethostname(char* name, std::size_t bytes);

int __wrap_open(const char* path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return qstep::fails("open") ? -1 : __real_open(path, flags, mode);
}
// Closes all the same, as Linux does.
int __wrap_close(int descriptor) {
    const int result = __real_close(descriptor);
    return qstep::fails("close") ? -1 : result;
}
ssize_t __wrap_read(int descriptor, void* to, std::size_t bytes) {
    return qstep::fails("read", bytes) ? -1 : __real_read(descriptor, to, bytes);
}
ssize_t __wrap_pread(int descriptor, void* to, std::size_t bytes, off_t offset) {
    return qstep::fails("pread", bytes) ? -1 : __real_pread(descriptor, to, bytes, offset);
}
ssize_t __wrap_write(int descriptor, const void* from, std::size_t bytes) {
    return qstep::fails("write", bytes) ? -1 : __real_write(descriptor, from, bytes);
}
int __wrap_fsync(int descriptor) {
    return qstep::fails("fsync") ? -1 : __real_fsync(descriptor);
}
int __wrap_rename(const char* from, const char* to) {
    return qstep::fails("rename") ? -1 : __real_rename(from, to);
}
int __wrap_fstat(int descriptor, struct stat* status) {
    return qstep::fails("fstat") ? -1 : __real_fstat(descriptor, status);
}
int __wrap_flock(int descriptor, int operation) {
    return qstep::fails("flock") ? -1 : __real_flock(descriptor, operation);
}
int __wrap_gethostname(char* name, std::size_t bytes) {
    return qstep::fails("gethostname") ? -1 : __real_gethostname(name, bytes);
}

}  // extern "C"

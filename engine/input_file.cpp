#include "engine/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "engine/error.h"

namespace qstep {

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
    // O_NONBLOCK: a named pipe would otherwise wait for a writer that never comes.
    descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0)
        fail_run("cannot open {}: {}", path_.string(), std::generic_category().message(errno));
    struct stat status {};
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(descriptor_);
        fail_run("cannot open {}: it is not a regular file", path_.string());
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
    close(descriptor_);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
        const ssize_t got = pread(descriptor_, to.data(), to.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_run("cannot read {}: {}", path_.string(), std::generic_category().message(errno));
        if (got == 0) fail_run("{} became shorter while it was read", path_.string());
        to = to.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
}

std::string shown(const std::string& text, std::size_t most) {
    std::string line = text.substr(0, most);
    for (char& c : line)
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
    return text.size() > most ? line + "..." : line;
}

}  // namespace qstep

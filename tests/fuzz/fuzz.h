// What the fuzz targets share. A target ends by itself or aborts: an exception that is not an Error of the
// expected kind leaves it and is a crash.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <span>
#include <string_view>

#include "engine/error.h"

namespace qstep::fuzz {

inline void require(bool condition) {
    if (!condition) std::abort();
}

/// True when `body` ended, false when it threw an error of this kind with one line of text.
template <typename Body>
bool succeeds(ErrorKind kind, Body&& body) {
    try {
        body();
        return true;
    } catch (const Error& error) {
        const std::string_view sentence = error.what();
        require(error.kind() == kind && !sentence.empty() && sentence.find('\n') == std::string_view::npos);
        return false;
    }
}

/// A file in memory that has a path like any other.
class MemoryFile {
  public:
    MemoryFile() : descriptor_(memfd_create("input", MFD_CLOEXEC)) {
        require(descriptor_ >= 0);
        path_ = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(descriptor_);
    }
    ~MemoryFile() { close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    void resize(std::size_t size) { require(ftruncate(descriptor_, static_cast<off_t>(size)) == 0); }
    void write(std::size_t offset, std::span<const std::byte> bytes) {
        const auto size = static_cast<ssize_t>(bytes.size());
        require(pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset)) == size);
    }
    void hold(std::span<const std::byte> bytes) {
        resize(bytes.size());
        write(0, bytes);
    }

  private:
    int descriptor_;
    std::filesystem::path path_;
};

inline std::span<const std::byte> as_bytes(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const std::byte*>(data), size};
}

}  // namespace qstep::fuzz

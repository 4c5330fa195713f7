// A file to be read at any place, its size known beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace qstep {

/// A regular file, open for reading until the object goes.
class InputFile {
  public:
    /// Throws a run error, naming the file and the reason, where it cannot be opened or is something else
    /// than a regular file.
    explicit InputFile(std::filesystem::path path);
    ~InputFile();
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    /// Bytes in the file when it was opened.
    std::uint64_t size() const { return size_; }
    /// Fills `to` with the bytes from `offset`. Throws a run error where the file ends before.
    void read(std::uint64_t offset, std::span<std::byte> to) const;

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    std::uint64_t size_ = 0;
};

/// Text out of a file as messages show it: one line of printable ASCII, cut after `most` characters.
std::string shown(const std::string& text, std::size_t most = 60);

}  // namespace qstep

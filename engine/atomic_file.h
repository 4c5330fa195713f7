// Files that are there as a whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace qstep {

/// Replaces `target`: the bytes go to `target`.tmp in the same folder; commit() syncs that file, renames it
/// over the target and syncs the folder. Until then, and whatever fails, the target keeps its old content;
/// the temporary file is removed by the destructor. (A process killed in between leaves it behind; the next
/// write of the same target overwrites it.) Every failure is a run error that names the file and the system's
/// reason.
class AtomicFile {
  public:
    /// Refuses a target that exists and is not a regular file.
    explicit AtomicFile(std::filesystem::path target);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    /// Appends to the temporary file.
    void write(std::span<const std::byte> bytes);
    /// The same of text.
    void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
    /// Puts the file in its place. Once, and last.
    void commit();

  private:
    [[noreturn]] void fail(int error_number) const;
    void sync_folder() const;

    std::filesystem::path target_;
    std::filesystem::path temporary_;
    int descriptor_ = -1;
};

/// The whole text as one file.
void write_text_file(const std::filesystem::path& target, std::string_view text);

}  // namespace qstep

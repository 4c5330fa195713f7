// Reader and writer of safetensors files, the format in which checkpoints and step dumps are exchanged.
//
// Layout: 8 bytes little-endian header length, a JSON header of that length, then the data. The header maps a
// tensor's name to {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, offsets counted from the
// first data byte, and "__metadata__" to an object of strings. The tensors tile the data without gap or
// overlap. Source: the format description in huggingface/safetensors (README, "Format").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/dtype.h"
#include "engine/input_file.h"

namespace qstep {

/// "__metadata__": names to texts in UTF-8.
using Metadata = std::map<std::string, std::string>;

/// A tensor to be written; `data` is in row-major order and little-endian.
struct TensorToWrite {
    std::string name;
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> data;
};

/// Replaces `path` in one piece (see AtomicFile). The data is ordered by falling element size, then as given,
/// so that every tensor is aligned to its element size; the header is padded with spaces to a multiple of 8
/// bytes. The same arguments give the same bytes. Throws a run error when the file cannot be written.
void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const TensorToWrite> tensors);

/// A file whose header has been checked from end to end; data is read on request.
class SafetensorsFile {
  public:
    /// What the header says of one tensor.
    struct Entry {
        DType dtype = DType::f32;
        std::vector<std::int64_t> shape;
        std::uint64_t begin = 0, end = 0;  // byte range in the data section

        std::uint64_t bytes() const { return end - begin; }
    };

    /// Opens the file and checks all of it but the data: at most 16 MiB of header are read, after their
    /// length is known to lie within the file. Throws a run error of one sentence for anything that is not a
    /// well-formed file of the element types of engine/dtype.h: truncated, header too long or not an object,
    /// bad UTF-8, nesting, a name or key twice, an unknown type or key, a shape that does not match its
    /// bytes, offsets that overlap, leave gaps or exceed the file.
    explicit SafetensorsFile(std::filesystem::path path);

    const Metadata& metadata() const { return metadata_; }
    const std::map<std::string, Entry>& entries() const { return entries_; }
    const std::filesystem::path& path() const { return file_.path(); }

    /// Reads the whole data of an entry of this file into `to`, which has exactly entry.bytes() bytes.
    void read(const Entry& entry, std::span<std::byte> to) const;

  private:
    InputFile file_;
    std::uint64_t data_start_ = 0;
    Metadata metadata_;
    std::map<std::string, Entry> entries_;
};

}  // namespace qstep

// TensorBoard's event files: TFRecords of protobuf messages, written by hand.
//
// A record is: u64 length, u32 masked CRC of these 8 bytes, the message, u32 masked CRC of the message; all
// little-endian. masked(c) = (c rotated right by 15 bits) + 0xa282ead8, c the CRC32C of the bytes
// (Castagnoli, RFC 3720 appendix B.4). Messages and field numbers are those of
// tensorflow/core/util/event.proto (Event, SessionLog) and tensorflow/core/framework/summary.proto (Summary,
// HistogramProto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "train/histogram.h"

namespace qstep {

/// CRC32C of the bytes.
std::uint32_t crc32c(std::string_view bytes);

/// The values of one Event, by tag; gathered, then handed to EventFile::add().
class EventValues {
  public:
    /// One number; a later one with the same tag is another value of the same Event.
    void scalar(std::string_view tag, double value);
    /// As TensorBoard wants it: the first bin begins at the minimum, the last one ends at the maximum. Runs
    /// of empty bins between them become one.
    void histogram(std::string_view tag, const Histogram& histogram);

    bool empty() const { return summary_.empty(); }
    /// A Summary message.
    const std::string& summary() const { return summary_; }

  private:
    std::string summary_;
};

/// A file of its own for each process that trains, so that a resumed run adds one to those in the folder. Its
/// name sorts behind theirs, which is the order TensorBoard reads them in.
class EventFile {
  public:
    /// Makes the file in `folder`. What earlier files say of `next_step` and later steps no longer holds: a
    /// resumed run does those steps again, and TensorBoard forgets them. Throws a run error when it cannot be
    /// made.
    EventFile(const std::filesystem::path& folder, std::int64_t next_step);
    ~EventFile();
    EventFile(const EventFile&) = delete;
    EventFile& operator=(const EventFile&) = delete;

    /// One record, written at once. Throws a run error that names the file and the reason.
    void add(std::int64_t step, const EventValues& values);

    const std::filesystem::path& path() const { return path_; }

  private:
    explicit EventFile(std::filesystem::path path);
    void write_record(const std::string& message);

    std::filesystem::path path_;
    int descriptor_ = -1;
};

}  // namespace qstep

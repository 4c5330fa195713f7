#include "train/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "engine/error.h"

namespace qstep {

namespace {

// Numbers of fields in the messages.
enum EventField { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum SummaryField { kValue = 1 };
enum ValueField { kTag = 1, kSimpleValue = 2, kHistogram = 5 };
enum HistogramField { kMin = 1, kMax, kNum, kSum, kSumSquares, kBucketLimit, kBucket };
enum SessionLogField { kStatus = 1 };
constexpr std::uint64_t kStatusStart = 1;

// How a field's value is laid out.
enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

template <typename Integer>
void append_little_endian(std::string& out, Integer value) {
    for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
}

void append_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

void append_key(std::string& out, int field, WireType type) {
    append_varint(out, static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(type));
}

void append_integer(std::string& out, int field, std::uint64_t value) {
    append_key(out, field, kVarint);
    append_varint(out, value);
}

void append_double(std::string& out, int field, double value) {
    append_key(out, field, kFixed64);
    append_little_endian(out, std::bit_cast<std::uint64_t>(value));
}

void append_float(std::string& out, int field, float value) {
    append_key(out, field, kFixed32);
    append_little_endian(out, std::bit_cast<std::uint32_t>(value));
}

// Texts and messages alike.
void append_bytes(std::string& out, int field, std::string_view bytes) {
    append_key(out, field, kLengthDelimited);
    append_varint(out, bytes.size());
    out += bytes;
}

std::uint32_t masked_crc(std::string_view bytes) {
    return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

std::string event(std::int64_t step) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    std::string message;
    append_double(message, kWallTime, std::chrono::duration<double>(now).count());
    append_integer(message, kStep, static_cast<std::uint64_t>(step));
    return message;
}

std::filesystem::path new_path(const std::filesystem::path& folder) {
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    std::array<char, 256> host{};
    if (gethostname(host.data(), host.size() - 1) != 0 || host[0] == 0) host = {'h', 'o', 's', 't'};
    return folder / fmt::format("events.out.tfevents.{:010}.{:06}.{}.{}", now.count() / 1000000,
                                now.count() % 1000000, host.data(), getpid());
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
    static constexpr auto kTable = [] {
        std::array<std::uint32_t, 256> table{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0x82f63b78u : 0);
            table[i] = value;
        }
        return table;
    }();
    std::uint32_t crc = 0xffffffffu;
    for (const char c : bytes) crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
    return ~crc;
}

void EventValues::scalar(std::string_view tag, double value) {
    std::string message;
    append_bytes(message, kTag, tag);
    append_float(message, kSimpleValue, static_cast<float>(value));
    append_bytes(summary_, kValue, message);
}

void EventValues::histogram(std::string_view tag, const Histogram& h) {
    std::string message, limits, counts;
    append_double(message, kMin, h.minimum);
    append_double(message, kMax, h.maximum);
    append_double(message, kNum, static_cast<double>(h.count));
    append_double(message, kSum, h.sum);
    append_double(message, kSumSquares, h.sum_of_squares);
    const auto filled = [](std::int64_t count) { return count != 0; };
    const auto first = std::ranges::find_if(h.counts, filled) - h.counts.begin();
    const auto end = std::find_if(h.counts.rbegin(), h.counts.rend(), filled).base() - h.counts.begin();
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(end); ++i) {
        if (h.counts[i] == 0 && h.counts[i + 1] == 0) continue;
        const bool last = i + 1 == static_cast<std::size_t>(end);
        append_little_endian(limits, std::bit_cast<std::uint64_t>(last ? h.maximum : h.limit(i)));
        append_little_endian(counts, std::bit_cast<std::uint64_t>(static_cast<double>(h.counts[i])));
    }
    append_bytes(message, kBucketLimit, limits);
    append_bytes(message, kBucket, counts);
    std::string value;
    append_bytes(value, kTag, tag);
    append_bytes(value, kHistogram, message);
    append_bytes(summary_, kValue, value);
}

EventFile::EventFile(std::filesystem::path path) : path_(std::move(path)) {
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor_ < 0)
        fail_run("cannot write {}: {}", path_.string(), std::generic_category().message(errno));
}

EventFile::EventFile(const std::filesystem::path& folder, std::int64_t next_step)
    : EventFile(new_path(folder)) {
    // TensorBoard wants the version first, and obeys a start only in files of this version.
    std::string version = event(0);
    append_bytes(version, kFileVersion, "brain.Event:2");
    write_record(version);
    std::string session, start = event(next_step);
    append_integer(session, kStatus, kStatusStart);
    append_bytes(start, kSessionLog, session);
    write_record(start);
}

EventFile::~EventFile() {
    close(descriptor_);
}

void EventFile::add(std::int64_t step, const EventValues& values) {
    std::string message = event(step);
    append_bytes(message, kSummary, values.summary());
    write_record(message);
}

void EventFile::write_record(const std::string& message) {
    std::string record;
    append_little_endian(record, std::uint64_t{message.size()});
    append_little_endian(record, masked_crc(record));
    record += message;
    append_little_endian(record, masked_crc(message));
    for (std::string_view left = record; !left.empty();) {
        const ssize_t written = write(descriptor_, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0)
            fail_run("cannot write {}: {}", path_.string(), std::generic_category().message(errno));
        left.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace qstep

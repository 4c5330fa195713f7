#include "data/cifar10.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace qstep {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRecordBytes = 1 + kImageBytes;
constexpr std::int64_t kRecordsPerRead = 256;
constexpr std::array<std::string_view, 5> kTrainFiles = {
    "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
constexpr std::array<std::string_view, 1> kTestFiles = {"test_batch.bin"};
constexpr const char* kInnerFolder = "cifar-10-batches-bin";

std::string reason(int error_number) {
    return std::error_code(error_number, std::generic_category()).message();
}

bool same_file_state(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
           a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

/// One of the six files, open, its size known to be a whole number of records.
class RecordFile {
  public:
    explicit RecordFile(fs::path path);
    ~RecordFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    RecordFile(RecordFile&& other) noexcept
        : path_(std::move(other.path_)),
          descriptor_(std::exchange(other.descriptor_, -1)),
          state_(other.state_) {}
    RecordFile& operator=(RecordFile&&) = delete;

    std::int64_t records() const { return state_.st_size / kRecordBytes; }
    /// Appends every record; throws when the file is no longer what it was when it was opened.
    void append_to(Dataset& dataset) const;

  private:
    void read_exactly(std::span<std::uint8_t> to) const;
    void check_unchanged() const;

    fs::path path_;
    int descriptor_ = -1;
    struct stat state_ {};
};

RecordFile::RecordFile(fs::path path) : path_(std::move(path)) {
    // Without O_NONBLOCK a named pipe of this name would make the program wait for ever.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor_ < 0) {
        if (errno == ENOENT) fail_run("The CIFAR-10 file '{}' is missing.", path_.string());
        fail_run("The CIFAR-10 file '{}' cannot be read: {}.", path_.string(), reason(errno));
    }
    try {
        if (::fstat(descriptor_, &state_) != 0)
            fail_run("The CIFAR-10 file '{}' cannot be read: {}.", path_.string(), reason(errno));
        if (!S_ISREG(state_.st_mode)) fail_run("'{}' is not a file of CIFAR-10 records.", path_.string());
        if (state_.st_size == 0) fail_run("The CIFAR-10 file '{}' is empty.", path_.string());
        const std::int64_t over = state_.st_size % kRecordBytes;
        if (over != 0) {
            fail_run(
                "The CIFAR-10 file '{}' is damaged or cut short: its {} bytes are {} records of {} bytes and "
                "{} bytes over.",
                path_.string(), state_.st_size, records(), kRecordBytes, over);
        }
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

void RecordFile::read_exactly(std::span<std::uint8_t> to) const {
    while (!to.empty()) {
        const ssize_t got = ::read(descriptor_, to.data(), to.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_run("The CIFAR-10 file '{}' cannot be read: {}.", path_.string(), reason(errno));
        if (got == 0) fail_run("The CIFAR-10 file '{}' was cut short while it was read.", path_.string());
        to = to.subspan(static_cast<std::size_t>(got));
    }
}

void RecordFile::check_unchanged() const {
    struct stat by_descriptor {
    }, by_path{};
    const bool same = ::fstat(descriptor_, &by_descriptor) == 0 && ::stat(path_.c_str(), &by_path) == 0 &&
                      same_file_state(state_, by_descriptor) && same_file_state(state_, by_path);
    if (!same) fail_run("The CIFAR-10 file '{}' changed while it was read.", path_.string());
}

void RecordFile::append_to(Dataset& dataset) const {
    std::vector<std::uint8_t> buffer(
        static_cast<std::size_t>(std::min(kRecordsPerRead, records()) * kRecordBytes));
    for (std::int64_t first = 0; first < records(); first += kRecordsPerRead) {
        const std::int64_t count = std::min(kRecordsPerRead, records() - first);
        read_exactly(std::span(buffer).first(static_cast<std::size_t>(count * kRecordBytes)));
        for (std::int64_t i = 0; i < count; ++i) {
            const std::uint8_t* record = buffer.data() + i * kRecordBytes;
            if (record[0] >= kClassCount) {
                fail_run("Record {} (from 0) of the CIFAR-10 file '{}' has the label {}, above {}.",
                         first + i, path_.string(), record[0], kClassCount - 1);
            }
            dataset.labels.push_back(record[0]);
            dataset.images.insert(dataset.images.end(), record + 1, record + kRecordBytes);
        }
    }
    check_unchanged();
}

bool has_any_file(const fs::path& folder) {
    const auto exists = [&](std::string_view name) {
        std::error_code ignored;
        return fs::exists(fs::symlink_status(folder / name, ignored));
    };
    return std::any_of(kTrainFiles.begin(), kTrainFiles.end(), exists) ||
           std::any_of(kTestFiles.begin(), kTestFiles.end(), exists);
}

/// Throws when the folder is missing, not a folder or cannot be looked into.
void check_folder(const fs::path& folder) {
    std::error_code error;
    const fs::file_status status = fs::status(folder, error);
    if (status.type() == fs::file_type::not_found)
        fail_run("The data folder '{}' does not exist.", folder.string());
    if (error) fail_run("The data folder '{}' cannot be read: {}.", folder.string(), error.message());
    if (status.type() != fs::file_type::directory)
        fail_run("The data folder '{}' is not a folder.", folder.string());
    const fs::directory_iterator entries(folder, error);
    if (error) fail_run("The data folder '{}' cannot be read: {}.", folder.string(), error.message());
}

/// The folder that the six files are read from.
fs::path locate(const fs::path& folder) {
    check_folder(folder);
    if (has_any_file(folder)) return folder;
    const fs::path inner = folder / kInnerFolder;
    std::error_code ignored;
    if (!fs::exists(fs::symlink_status(inner, ignored))) {
        fail_run("The data folder '{}' holds no CIFAR-10: there is no '{}' in it and no folder '{}'.",
                 folder.string(), kTrainFiles[0], kInnerFolder);
    }
    check_folder(inner);
    return inner;
}

Dataset read_files(std::string name, const std::vector<RecordFile>& files) {
    std::int64_t records = 0;
    for (const RecordFile& file : files) records += file.records();
    if (records > std::numeric_limits<std::int32_t>::max())
        fail_run("The {} number {}, more than can be indexed.", name, records);
    Dataset dataset;
    dataset.name = std::move(name);
    dataset.labels.reserve(static_cast<std::size_t>(records));
    dataset.images.reserve(static_cast<std::size_t>(records * kImageBytes));
    for (const RecordFile& file : files) file.append_to(dataset);
    return dataset;
}

}  // namespace

DataSplits read_cifar10(const fs::path& folder) {
    const fs::path place = locate(folder);
    // All six are opened and measured before the first is read, so that most mistakes are told at once.
    std::vector<RecordFile> train, test;
    for (const std::string_view name : kTrainFiles) train.emplace_back(place / name);
    for (const std::string_view name : kTestFiles) test.emplace_back(place / name);
    return {read_files("CIFAR-10 training images", train), read_files("CIFAR-10 test images", test)};
}

bool has_cifar10_files(const fs::path& folder) {
    return has_any_file(folder) || has_any_file(folder / kInnerFolder);
}

}  // namespace qstep

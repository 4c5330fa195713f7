// Fuzz target: six CIFAR-10 files of any sizes and labels, or fewer. The input describes them, for a record
// has 3073 bytes; whether they can be read, and what is read, is known beforehand.
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <vector>

#include "data/cifar10.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace qstep;
using fuzz::require;

constexpr std::size_t kRecordBytes = 3073;
constexpr std::array<const char*, 6> kNames = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                               "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

/// What the input has left, then zeros.
class Source {
  public:
    Source(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    std::uint8_t next() {
        if (left_.empty()) return 0;
        const std::uint8_t value = left_.front();
        left_ = left_.subspan(1);
        return value;
    }

  private:
    std::span<const std::uint8_t> left_;
};

/// A folder with a link to a file in memory for each of the six, and a folder that holds the first.
class Folder {
  public:
    Folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "fuzz_cifar10_XXXXXX").string();
        require(mkdtemp(pattern.data()) != nullptr);
        outer_ = pattern;
        inner_ = outer_ / "cifar-10-batches-bin";
        require(mkdir(inner_.c_str(), 0700) == 0);
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(outer_, ignored);
    }
    const std::filesystem::path& path(bool outer) const { return outer ? outer_ : inner_; }
    fuzz::MemoryFile& file(std::size_t index) { return files_[index]; }
    void show(std::size_t index, bool visible) {
        if (visible == visible_[index]) return;
        const std::string link = inner_ / kNames[index];
        require(visible ? symlink(files_[index].path().c_str(), link.c_str()) == 0
                        : unlink(link.c_str()) == 0);
        visible_[index] = visible;
    }

  private:
    std::filesystem::path outer_, inner_;
    std::array<fuzz::MemoryFile, 6> files_;
    std::array<bool, 6> visible_{};
};

/// Writes a file as the input describes it and adds its records; false when the reader must refuse it.
bool make_file(Folder& folder, std::size_t index, Source& source, Dataset& expected) {
    // One byte for the number of records or the file's absence, one for bytes that are too many.
    const std::uint8_t kind = source.next(), over = source.next();
    folder.show(index, kind < 250);
    const std::size_t records = kind % 4, rest = over < 128 ? 0 : over;
    fuzz::MemoryFile& file = folder.file(index);
    file.resize(0);
    file.resize(records * kRecordBytes + rest);
    bool good = kind < 250 && records > 0 && rest == 0;
    for (std::size_t record = 0; record < records; ++record) {
        // Pixels are zeros but for some at both ends.
        const std::uint8_t label = source.next();
        const std::array<std::uint8_t, 2> first{label, source.next()};
        const std::array<std::uint8_t, 1> last{static_cast<std::uint8_t>(index + 1)};
        file.write(record * kRecordBytes, std::as_bytes(std::span(first)));
        file.write((record + 1) * kRecordBytes - 1, std::as_bytes(std::span(last)));
        good = good && label < 10;
        expected.labels.push_back(label);
        expected.images.resize(expected.images.size() + kRecordBytes - 1);
        *(expected.images.end() - static_cast<std::ptrdiff_t>(kRecordBytes - 1)) = first[1];
        expected.images.back() = last[0];
    }
    return good;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Folder folder;
    Source source(data, size);
    const bool outer = source.next() % 2 == 1;
    DataSplits expected, read;
    bool good = true;
    for (std::size_t index = 0; index < kNames.size(); ++index)
        good = make_file(folder, index, source, index < 5 ? expected.train : expected.test) && good;
    const bool succeeded = fuzz::succeeds(ErrorKind::run, [&] { read = read_cifar10(folder.path(outer)); });
    require(succeeded == good);
    if (good) {
        require(read.train.labels == expected.train.labels && read.train.images == expected.train.images);
        require(read.test.labels == expected.test.labels && read.test.images == expected.test.images);
    }
    return 0;
}

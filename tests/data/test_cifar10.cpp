#include "data/cifar10.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "data_fixture.h"

namespace qstep {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

/// Permissions mean nothing to root, so root becomes somebody else for a while.
class WithoutPrivilege {
  public:
    WithoutPrivilege() : was_root_(::geteuid() == 0) {
        if (was_root_) ok_ = ::seteuid(kNobody) == 0;
    }
    ~WithoutPrivilege() {
        if (was_root_ && ::seteuid(0) != 0) std::abort();
    }
    bool ok() const { return ok_; }

  private:
    bool was_root_;
    bool ok_ = true;
};

void expect_all_records(const DataSplits& splits) {
    ASSERT_EQ(splits.train.count(), 1 + 2 + 3 + 4 + 5);
    ASSERT_EQ(splits.test.count(), 6);
    ASSERT_EQ(splits.train.images.size(), static_cast<std::size_t>(15 * kImageBytes));
    ASSERT_EQ(splits.test.images.size(), static_cast<std::size_t>(6 * kImageBytes));
    EXPECT_FALSE(splits.train.is_synthetic);
    std::int64_t index = 0;
    for (int f = 0; f < 6; ++f) {
        const Dataset& set = f < 5 ? splits.train : splits.test;
        if (f == 5) index = 0;
        for (std::int64_t r = 0; r <= f; ++r, ++index) {
            EXPECT_EQ(set.labels[static_cast<std::size_t>(index)], record_byte(f, r, 0));
            for (std::int64_t b = 0; b < kImageBytes; ++b)
                ASSERT_EQ(set.image(index)[b], record_byte(f, r, b + 1)) << f << ' ' << r << ' ' << b;
        }
    }
}

std::string read_error(const fs::path& folder) {
    return error_of(ErrorKind::run, [&] { read_cifar10(folder); });
}

TEST(Cifar10, ReadsEveryByteFromTheFolderItself) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    expect_all_records(read_cifar10(folder.path()));
    EXPECT_TRUE(has_cifar10_files(folder.path()));
}

TEST(Cifar10, FindsTheInnerFolder) {
    TemporaryFolder folder;
    write_cifar_files(folder.path() / "cifar-10-batches-bin");
    expect_all_records(read_cifar10(folder.path()));
    EXPECT_TRUE(has_cifar10_files(folder.path()));
}

TEST(Cifar10, ReadsFilesLongerThanOneReadOfTheReader) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    constexpr std::int64_t kRecords = 2 * 256 + 3;
    write_file(folder.path() / kCifarFiles[5], record_bytes(5, kRecords));
    const DataSplits splits = read_cifar10(folder.path());
    ASSERT_EQ(splits.test.count(), kRecords);
    for (const std::int64_t r : {std::int64_t{0}, std::int64_t{255}, std::int64_t{256}, kRecords - 1}) {
        EXPECT_EQ(splits.test.labels[static_cast<std::size_t>(r)], record_byte(5, r, 0));
        EXPECT_EQ(splits.test.image(r)[0], record_byte(5, r, 1));
        EXPECT_EQ(splits.test.image(r)[3071], record_byte(5, r, 3072));
    }
}

TEST(Cifar10, MissingFolder) {
    TemporaryFolder folder;
    const fs::path missing = folder.path() / "none";
    EXPECT_EQ(read_error(missing), "The data folder '" + missing.string() + "' does not exist.");
    EXPECT_FALSE(has_cifar10_files(missing));
}

TEST(Cifar10, FolderThatIsAFile) {
    TemporaryFolder folder;
    const fs::path file = folder.path() / "file";
    write_file(file, "x");
    EXPECT_EQ(read_error(file), "The data folder '" + file.string() + "' is not a folder.");
    fs::create_directory(folder.path() / "outer");
    const fs::path inner = folder.path() / "outer" / "cifar-10-batches-bin";
    write_file(inner, "x");
    EXPECT_EQ(read_error(folder.path() / "outer"),
              "The data folder '" + inner.string() + "' is not a folder.");
}

TEST(Cifar10, FolderWithoutCifar10) {
    TemporaryFolder folder;
    EXPECT_EQ(read_error(folder.path()),
              "The data folder '" + folder.path().string() +
                  "' holds no CIFAR-10: there is no 'data_batch_1.bin' in it and no folder "
                  "'cifar-10-batches-bin'.");
    EXPECT_FALSE(has_cifar10_files(folder.path()));
}

TEST(Cifar10, UnreadableFolder) {
    TemporaryFolder folder;
    write_cifar_files(folder.path() / "closed");
    fs::permissions(folder.path(), fs::perms::all);
    fs::permissions(folder.path() / "closed", fs::perms::none);
    {
        const WithoutPrivilege other;
        if (!other.ok()) GTEST_SKIP() << "cannot give up privileges";
        EXPECT_EQ(read_error(folder.path() / "closed"), "The data folder '" +
                                                            (folder.path() / "closed").string() +
                                                            "' cannot be read: Permission denied.");
    }
    fs::permissions(folder.path() / "closed", fs::perms::owner_all);
}

TEST(Cifar10, UnreadableFile) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    fs::permissions(folder.path(), fs::perms::all);
    const fs::path file = folder.path() / kCifarFiles[2];
    fs::permissions(file, fs::perms::none);
    const WithoutPrivilege other;
    if (!other.ok()) GTEST_SKIP() << "cannot give up privileges";
    EXPECT_EQ(read_error(folder.path()),
              "The CIFAR-10 file '" + file.string() + "' cannot be read: Permission denied.");
}

TEST(Cifar10, EachMissingFileIsNamed) {
    for (const char* name : kCifarFiles) {
        TemporaryFolder folder;
        write_cifar_files(folder.path());
        fs::remove(folder.path() / name);
        EXPECT_EQ(read_error(folder.path()),
                  "The CIFAR-10 file '" + (folder.path() / name).string() + "' is missing.");
    }
}

TEST(Cifar10, TruncatedFile) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    const fs::path file = folder.path() / kCifarFiles[3];
    fs::resize_file(file, 4 * 3073 - 1);
    EXPECT_EQ(
        read_error(folder.path()),
        "The CIFAR-10 file '" + file.string() +
            "' is damaged or cut short: its 12291 bytes are 3 records of 3073 bytes and 3072 bytes over.");
    fs::resize_file(file, 4 * 3073 + 1);
    EXPECT_NE(read_error(folder.path()).find("4 records of 3073 bytes and 1 bytes over"), std::string::npos);
}

TEST(Cifar10, EmptyFile) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    const fs::path file = folder.path() / kCifarFiles[5];
    fs::resize_file(file, 0);
    EXPECT_EQ(read_error(folder.path()), "The CIFAR-10 file '" + file.string() + "' is empty.");
}

TEST(Cifar10, FolderOrPipeInPlaceOfAFile) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    const fs::path file = folder.path() / kCifarFiles[0];
    fs::remove(file);
    fs::create_directory(file);
    EXPECT_EQ(read_error(folder.path()),
              fmt::format("'{}' is not a file of CIFAR-10 records.", file.string()));
    fs::remove(file);
    ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
    EXPECT_EQ(read_error(folder.path()),
              fmt::format("'{}' is not a file of CIFAR-10 records.", file.string()));
}

TEST(Cifar10, LabelAboveNine) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    const fs::path file = folder.path() / kCifarFiles[4];
    std::string bytes = record_bytes(4, 5);
    bytes[3 * 3073] = 10;
    write_file(file, bytes);
    EXPECT_EQ(read_error(folder.path()),
              "Record 3 (from 0) of the CIFAR-10 file '" + file.string() + "' has the label 10, above 9.");
    bytes[3 * 3073] = static_cast<char>(255);
    write_file(file, bytes);
    EXPECT_NE(read_error(folder.path()).find("has the label 255, above 9"), std::string::npos);
}

TEST(Cifar10, FileThatChangesWhileItIsReadGivesAnErrorOrAWholeSet) {
    TemporaryFolder folder;
    write_cifar_files(folder.path());
    constexpr std::int64_t kRecords = 2000;
    const fs::path file = folder.path() / kCifarFiles[5];
    const std::string whole(kRecords * 3073, '\1');
    write_file(file, whole);
    std::atomic<bool> done{false};
    std::thread vandal([&] {
        for (int i = 0; !done; ++i) {
            std::error_code ignored;
            fs::resize_file(file, i % 2 == 0 ? 1000 * 3073 : kRecords * 3073, ignored);
        }
    });
    int errors = 0;
    for (int i = 0; i < 30; ++i) {
        try {
            const DataSplits splits = read_cifar10(folder.path());
            EXPECT_TRUE(splits.test.count() == kRecords || splits.test.count() == 1000);
            EXPECT_EQ(splits.test.images.size(), static_cast<std::size_t>(splits.test.count() * kImageBytes));
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            EXPECT_NE(std::string(error.what()).find("while it was read"), std::string::npos) << error.what();
            ++errors;
        }
    }
    done = true;
    vandal.join();
    RecordProperty("errors", errors);
}

}  // namespace
}  // namespace qstep

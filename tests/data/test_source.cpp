#include "data/source.h"

#include <stdlib.h>

#include <optional>

#include "data/synthetic.h"
#include "data_fixture.h"

namespace qstep {
namespace {

namespace fs = std::filesystem;

/// CIFAR10_DIR and the working folder, put back at the end of the test.
class Source : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const char* value = ::getenv("CIFAR10_DIR")) old_value_ = value;
        ::unsetenv("CIFAR10_DIR");
        old_folder_ = fs::current_path();
        fs::current_path(folder_.path());
    }
    void TearDown() override {
        fs::current_path(old_folder_);
        if (old_value_)
            ::setenv("CIFAR10_DIR", old_value_->c_str(), 1);
        else
            ::unsetenv("CIFAR10_DIR");
    }
    fs::path cifar_in(const std::string& name) {
        write_cifar_files(folder_.path() / name);
        return folder_.path() / name;
    }

    TemporaryFolder folder_;
    fs::path old_folder_;
    std::optional<std::string> old_value_;
};

bool any_note_says(const DataSource& source, const std::string& text) {
    for (const std::string& note : source.notes)
        if (note.find(text) != std::string::npos) return true;
    return false;
}

void expect_default_synthetic(const DataSource& source) {
    EXPECT_TRUE(source.splits.train.is_synthetic);
    EXPECT_TRUE(source.splits.test.is_synthetic);
    EXPECT_EQ(source.splits.train.count(), kSyntheticTrainCount);
    EXPECT_EQ(source.splits.test.count(), kSyntheticTestCount);
    EXPECT_TRUE(any_note_says(source, "not comparable with one on CIFAR-10"));
}

TEST_F(Source, Folder) {
    const fs::path folder = cifar_in("mine");
    const DataSource source = open_data(folder.string());
    EXPECT_EQ(source.splits.train.count(), 15);
    EXPECT_EQ(source.splits.test.count(), 6);
    ASSERT_EQ(source.notes.size(), 1u);
    EXPECT_EQ(source.notes[0],
              "Data: 15 CIFAR-10 training images and 6 CIFAR-10 test images from '" + folder.string() + "'.");
}

TEST_F(Source, AutoPrefersTheVariableThenTheDataFolder) {
    cifar_in("data/cifar-10-batches-bin");
    EXPECT_TRUE(any_note_says(open_data("auto"), "from 'data'"));
    const fs::path named = cifar_in("named");
    ::setenv("CIFAR10_DIR", named.c_str(), 1);
    EXPECT_TRUE(any_note_says(open_data("auto"), "from '" + named.string() + "'"));
    ::setenv("CIFAR10_DIR", "", 1);
    EXPECT_TRUE(any_note_says(open_data("auto"), "from 'data'"));
}

TEST_F(Source, AutoStopsAtABrokenVariable) {
    cifar_in("data");
    ::setenv("CIFAR10_DIR", "/no/such/folder", 1);
    EXPECT_EQ(error_of(ErrorKind::run, [] { open_data("auto"); }),
              "CIFAR10_DIR is set, but: The data folder '/no/such/folder' does not exist.");
}

TEST_F(Source, AutoStopsAtABrokenDataFolder) {
    fs::remove(cifar_in("data") / "test_batch.bin");
    EXPECT_EQ(error_of(ErrorKind::run, [] { open_data("auto"); }),
              "The CIFAR-10 file 'data/test_batch.bin' is missing.");
}

TEST_F(Source, AutoFallsBackToSyntheticAndSaysHowToGetCifar10) {
    fs::create_directory("data");
    const DataSource source = open_data("auto");
    expect_default_synthetic(source);
    EXPECT_TRUE(any_note_says(source, "run scripts/get_cifar10.sh"));
}

TEST_F(Source, SyntheticIsTakenAsAskedFor) {
    cifar_in("data");
    const DataSource source = open_data("synthetic");
    expect_default_synthetic(source);
    EXPECT_FALSE(any_note_says(source, "get_cifar10"));
}

TEST_F(Source, BadTexts) {
    EXPECT_EQ(error_of(ErrorKind::usage, [] { open_data(""); }),
              "--data needs a folder, 'auto' or 'synthetic'.");
    EXPECT_EQ(error_of(ErrorKind::run, [] { open_data("nowhere"); }),
              "The data folder 'nowhere' does not exist.");
}

}  // namespace
}  // namespace qstep

// The good files are bytes that NumPy 1.24 wrote; each hostile file is one wrong step away from one of them.
#include "data/npy.h"

#include <gtest/gtest.h>

#include <fstream>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

// As NumPy pads it: the elements begin at byte 128.
std::string npy(const std::string& dictionary, const std::string& elements, int major = 1) {
    const std::size_t start = major == 1 ? 10 : 12, length = 128 - start;
    std::string header = dictionary;
    header.resize(length - 1, ' ');
    std::string bytes = std::string("\x93NUMPY") + static_cast<char>(major) + '\0';
    for (std::size_t i = 0; i < start - 8; ++i) bytes += static_cast<char>(length >> (8 * i));
    return bytes + header + "\n" + elements;
}

std::string dictionary(const std::string& shape, const std::string& type = "<f4",
                       const std::string& fortran = "False") {
    return "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

const std::string kThree("\0\0\x80?\0\0\0\xc0\0\0\0?", 12);  // 1, -2, 0.5
const std::string kSix("\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@", 24);

class Npy : public testing::Test {
  protected:
    std::filesystem::path put(const std::string& bytes) {
        std::ofstream(path_, std::ios::binary) << bytes;
        return path_;
    }
    NpyArray read(const std::string& bytes) { return read_npy(put(bytes)); }
    std::string refusal(const std::string& bytes) {
        try {
            read(bytes);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            const std::string sentence = error.what();
            EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
            EXPECT_NE(sentence.find("file.npy"), std::string::npos) << sentence;
            return sentence;
        }
        return "accepted";
    }
    void expect_refused(const std::string& bytes, const std::string& part) {
        const std::string sentence = refusal(bytes);
        EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
    }
    void expect_dictionary_refused(const std::string& text, const std::string& part) {
        expect_refused(npy(text, kThree), part);
    }

    TemporaryFolder folder_;
    std::filesystem::path path_ = folder_.path() / "file.npy";
};

using Extents = std::vector<std::int64_t>;

TEST_F(Npy, ReadsWhatNumpyWrote) {
    const NpyArray line = read(npy(dictionary("(3,)"), kThree));
    EXPECT_EQ(line.shape, Extents{3});
    EXPECT_EQ(line.values, (std::vector<float>{1.0f, -2.0f, 0.5f}));
    for (const int version : {1, 2, 3}) {
        const NpyArray table = read(npy(dictionary("(2, 3)"), kSix, version));
        EXPECT_EQ(table.shape, (Extents{2, 3}));
        EXPECT_EQ(table.values, (std::vector<float>{0, 1, 2, 3, 4, 5}));
    }
    const NpyArray scalar = read(npy(dictionary("()"), kThree.substr(0, 4)));
    EXPECT_EQ(scalar.shape, Extents{});
    EXPECT_EQ(scalar.values, std::vector<float>{1.0f});
    const NpyArray empty = read(npy(dictionary("(2, 0, 3)"), ""));
    EXPECT_EQ(empty.shape, (Extents{2, 0, 3}));
    EXPECT_TRUE(empty.values.empty());
}

TEST_F(Npy, ReadsOtherSpellingsOfTheSameDictionary) {
    for (const char* text : {"{\"shape\":(3,),\"descr\":\"<f4\",\"fortran_order\":False}",
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,)}",
                             "  { 'fortran_order' :False,\t'shape': ( 3 , 1, ) , 'descr':'<f4' , }\n "})
        EXPECT_EQ(read(npy(text, kThree)).values.size(), 3u) << text;
}

TEST_F(Npy, WritesWhatNumpyWrites) {
    const auto expect_bytes = [&](const Extents& shape, const std::vector<float>& values,
                                  const std::string& bytes) {
        AtomicFile file(path_);
        write_npy(file, shape, values);
        file.commit();
        EXPECT_EQ(read_bytes(path_), bytes) << to_text(shape);
    };
    expect_bytes({3}, {1.0f, -2.0f, 0.5f}, npy(dictionary("(3,)"), kThree));
    expect_bytes({2, 3}, {0, 1, 2, 3, 4, 5}, npy(dictionary("(2, 3)"), kSix));
    expect_bytes({}, {1.0f}, npy(dictionary("()"), kThree.substr(0, 4)));
    expect_bytes({2, 0, 3}, {}, npy(dictionary("(2, 0, 3)"), ""));
}

TEST_F(Npy, LongHeadersComeBack) {
    const Extents shape(64, 1);
    AtomicFile file(path_);
    write_npy(file, shape, std::vector<float>{2.5f});
    file.commit();
    const NpyArray array = read_npy(path_);
    EXPECT_EQ(array.shape, shape);
    EXPECT_EQ(array.values, std::vector<float>{2.5f});
    EXPECT_EQ((read_bytes(path_).size() - 4) % 64, 0u);
}

TEST_F(Npy, RefusesOtherElements) {
    expect_refused(npy(dictionary("(1,)", "<f8"), std::string(8, 'x')), "'<f8', not little-endian float32");
    expect_refused(npy(dictionary("(1,)", ">f4"), "xxxx"), "'>f4', not little-endian float32");
    expect_refused(npy(dictionary("(1,)", "<i4"), "xxxx"), "'<i4'");
    expect_refused(npy(dictionary("(2, 3)", "<f4", "True"), kSix), "Fortran order");
    expect_refused(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "xxxx"),
                   "records");
}

TEST_F(Npy, RefusesDamagedStarts) {
    const std::string good = npy(dictionary("(3,)"), kThree);
    expect_refused("", "cut short in its header");
    expect_refused(std::string(200, '\0'), "does not begin as an .npy file");
    expect_refused("PK" + good.substr(2), "does not begin");
    for (const char* version : {"\0", "\4", "\xff"}) {
        std::string bytes = good;
        bytes[6] = *version;
        expect_refused(bytes, "its version is");
    }
    std::string minor = good;
    minor[7] = 1;
    expect_refused(minor, "its version is 1.1");
    std::string bytes = npy(dictionary("(3,)"), kThree, 2);
    bytes[11] = '\x7f';
    expect_refused(bytes, "more than the 65536");
    bytes = good;
    bytes[9] = '\xff';
    expect_refused(bytes, "cut short in its header");
}

TEST_F(Npy, RefusesDamagedDictionaries) {
    expect_dictionary_refused("", "'{' expected");
    expect_dictionary_refused("[]", "'{' expected");
    expect_dictionary_refused("{}", "has no 'descr'");
    expect_dictionary_refused("{'descr': '<f4', 'fortran_order': False}", "has no 'shape'");
    expect_dictionary_refused("{'descr': '<f4', 'shape': (3,)}", "has no 'fortran_order'");
    expect_dictionary_refused("{'descr': '<f4', 'descr': '<f4'}", "'descr' twice");
    expect_dictionary_refused("{'more': 1}", "unknown key 'more'");
    expect_dictionary_refused("{'descr': '<f4", "without an end");
    expect_dictionary_refused("{'descr' '<f4'}", "':' expected");
    expect_dictionary_refused("{'descr': '<f4' 'shape': (3,)}", "'}' expected");
    expect_dictionary_refused("{'descr': 4}", "expected");
    expect_dictionary_refused(dictionary("(3,)", "<f4", "0"), "neither True nor False");
    expect_dictionary_refused(dictionary("(3,)") + " x", "something follows");
    expect_dictionary_refused(dictionary("(3,)") + std::string("\0", 1) + "x", "something follows");
    expect_dictionary_refused("{'descr': '<f4', 'fortran_order': __import__('os').exit(), }", "neither");
}

TEST_F(Npy, RefusesDamagedShapes) {
    expect_dictionary_refused(dictionary("3"), "'(' expected");
    expect_dictionary_refused(dictionary("(3)"), "no tuple");
    expect_dictionary_refused(dictionary("(3 1)"), "no tuple");
    expect_dictionary_refused(dictionary("(-3,)"), "whole numbers");
    expect_dictionary_refused(dictionary("(3.0,)"), "no tuple");
    expect_dictionary_refused(dictionary("(,)"), "whole numbers");
    expect_dictionary_refused(dictionary("(None,)"), "whole numbers");
    expect_dictionary_refused(dictionary("((3,),)"), "whole numbers");
    expect_dictionary_refused(dictionary("(99999999999999999999,)"), "whole numbers");
    // 2^32 * 2^32 wraps around to 0, 2^62 * 4 bytes too.
    expect_dictionary_refused(dictionary("(4294967296, 4294967296)"), "larger than any file");
    expect_dictionary_refused(dictionary("(4611686018427387904,)"), "larger than any file");
    expect_dictionary_refused(dictionary("(1000000000000,)"), "cut short");
    std::string ones = "(";
    for (int i = 0; i < 65; ++i) ones += "1,";
    const std::string text = dictionary(ones + ")") + "\n";
    const std::string bytes = std::string("\x93NUMPY\1\0", 8) + static_cast<char>(text.size()) + '\0' + text;
    expect_refused(bytes + "xxxx", "at most 64 extents");
}

TEST_F(Npy, TheDataHaveTheShapesLength) {
    expect_refused(npy(dictionary("(3,)"), kThree.substr(1)), "needs 12 bytes of elements and 11 are there");
    expect_refused(npy(dictionary("(3,)"), kThree + "x"), "1 bytes follow");
    expect_refused(npy(dictionary("(2, 0, 3)"), "x"), "1 bytes follow");
}

TEST_F(Npy, EveryTruncationIsRefused) {
    const std::string good = npy(dictionary("(2, 3)"), kSix);
    for (std::size_t length = 0; length < good.size(); ++length)
        EXPECT_NE(refusal(good.substr(0, length)), "accepted") << length;
}

// Every byte becomes what differs in one bit and what means something in a header. What one wrong byte leaves
// readable has the file's six elements still.
TEST_F(Npy, NoChangedByteHarms) {
    for (const int version : {1, 2}) {
        const std::string good = npy(dictionary("(2, 3)"), kSix, version);
        for (std::size_t place = 0; place < good.size() - kSix.size(); ++place)
            for (int change = 0; change < 8 + 16; ++change) {
                std::string bytes = good;
                bytes[place] = change < 8 ? static_cast<char>(bytes[place] ^ (1 << change))
                                          : "{}()[],:'\" 0129L"[change - 8];
                try {
                    const NpyArray array = read(bytes);
                    ASSERT_EQ(array.values, (std::vector<float>{0, 1, 2, 3, 4, 5})) << place << " " << change;
                } catch (const Error& error) {
                    ASSERT_EQ(error.kind(), ErrorKind::run) << place << " " << change;
                }
            }
    }
}

TEST_F(Npy, RefusesWhatIsNoFile) {
    EXPECT_THROW(read_npy(folder_.path() / "absent"), Error);
    EXPECT_THROW(read_npy(folder_.path()), Error);
    EXPECT_THROW(read_npy("/dev/zero"), Error);
}

TEST(NpyShape, ReadsAsInPython) {
    EXPECT_EQ(to_text(Extents{}), "()");
    EXPECT_EQ(to_text(Extents{5}), "(5,)");
    EXPECT_EQ(to_text(Extents{3, 4}), "(3, 4)");
}

}  // namespace
}  // namespace qstep

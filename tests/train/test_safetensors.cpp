// Files are compared with bytes laid out by hand from the format's description; each hostile file is one
// wrong step away from a good one.
#include "train/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

std::string file_bytes(std::string header, const std::string& data) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
    return bytes + header + data;
}

class Safetensors : public testing::Test {
  protected:
    std::filesystem::path put(const std::string& bytes) {
        const auto path = folder_.path() / "file.safetensors";
        std::ofstream(path, std::ios::binary) << bytes;
        return path;
    }
    // The sentence a run error carries.
    std::string refusal(const std::string& bytes) {
        try {
            SafetensorsFile file(put(bytes));
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::run);
            const std::string sentence = error.what();
            EXPECT_EQ(sentence.find('\n'), std::string::npos) << sentence;
            EXPECT_NE(sentence.find("file.safetensors"), std::string::npos) << sentence;
            return sentence;
        }
        return "accepted";
    }
    void expect_refused(const std::string& bytes, const std::string& part) {
        const std::string sentence = refusal(bytes);
        EXPECT_NE(sentence.find(part), std::string::npos) << sentence;
    }

    TemporaryFolder folder_;
};

TEST_F(Safetensors, ReadsAFileWrittenByHand) {
    const SafetensorsFile file(
        put(file_bytes(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"k":"v"},)"
                       R"("b":{"dtype":"U8","shape":[],"data_offsets":[8,9]},)"
                       R"("none":{"dtype":"I64","shape":[0,7],"data_offsets":[8,8]}}   )",
                       std::string("\0\0\x80\x3f\0\0\0\xc0\x2a", 9))));
    EXPECT_EQ(file.metadata(), (Metadata{{"k", "v"}}));
    ASSERT_EQ(file.entries().size(), 3u);
    std::array<float, 2> a{};
    file.read(file.entries().at("a"), std::as_writable_bytes(std::span(a)));
    EXPECT_EQ(a, (std::array<float, 2>{1.0f, -2.0f}));
    std::array<std::byte, 1> b{};
    file.read(file.entries().at("b"), b);
    EXPECT_EQ(b[0], std::byte{42});
    EXPECT_TRUE(file.entries().at("b").shape.empty());
    EXPECT_EQ(file.entries().at("none").bytes(), 0u);
}

TEST_F(Safetensors, WritesTheBytesOfTheFormat) {
    const std::array<std::uint8_t, 3> bytes{1, 2, 3};
    const std::array<std::int64_t, 1> label{-2};
    const auto path = folder_.path() / "file.safetensors";
    const std::array tensors{TensorToWrite{"u", DType::u8, {3}, std::as_bytes(std::span(bytes))},
                             TensorToWrite{"l", DType::i64, {1}, std::as_bytes(std::span(label))}};
    write_safetensors(path, {{"key", "va\"lue"}}, tensors);
    std::string header =
        R"({"__metadata__":{"key":"va\"lue"},"l":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
        R"("u":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    EXPECT_EQ(read_bytes(path),
              file_bytes(header, std::string("\xfe\xff\xff\xff\xff\xff\xff\xff\1\2\3", 11)));
    EXPECT_FALSE(std::filesystem::exists(path.string() + ".tmp"));
}

TEST_F(Safetensors, RoundTripsEveryTypeBitwise) {
    // Not-a-number patterns and negative zero must survive, so compare bytes.
    const std::array<std::uint32_t, 4> f32{0x7fc00001u, 0x80000000u, 0xff800000u, 1u};
    const std::array<std::uint16_t, 2> half{0x7fc1u, 0x8000u};
    const std::array<std::uint64_t, 2> wide{0xfff8000000000001u, 7u};
    const std::array<std::int32_t, 1> i32{-5};
    const auto raw = [](const auto& values) { return std::as_bytes(std::span(values)); };
    const std::array tensors{
        TensorToWrite{"f", DType::f32, {1, 2, 2, 1}, raw(f32)},
        TensorToWrite{"h", DType::bf16, {2}, raw(half)}, TensorToWrite{"d", DType::f64, {2}, raw(wide)},
        TensorToWrite{"i", DType::i32, {}, raw(i32)}, TensorToWrite{"empty", DType::f32, {3, 0}, {}}};
    const auto path = folder_.path() / "file.safetensors";
    write_safetensors(path, {}, tensors);
    const SafetensorsFile file(path);
    EXPECT_EQ(file.entries().size(), tensors.size());
    for (const TensorToWrite& tensor : tensors) {
        const auto& entry = file.entries().at(tensor.name);
        EXPECT_EQ(entry.dtype, tensor.dtype);
        EXPECT_EQ(entry.shape, tensor.shape);
        std::vector<std::byte> data(entry.bytes());
        file.read(entry, data);
        EXPECT_TRUE(std::ranges::equal(data, tensor.data)) << tensor.name;
    }
}

TEST_F(Safetensors, RefusesWrongHeaderLengths) {
    const std::string good = file_bytes(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "xy");
    EXPECT_EQ(refusal(good), "accepted");
    expect_refused("", "shorter than the 8 bytes");
    expect_refused("1234567", "shorter than the 8 bytes");
    expect_refused(std::string(8, '\xff'), "claims a header of 18446744073709551615 bytes");
    expect_refused(std::string("\1\0\0\1\0\0\0\0{}", 10), "claims a header of 16777217");
    expect_refused(std::string("\x03\0\0\0\0\0\0\0{}", 10), "truncated");
    expect_refused(std::string(8, '\0'), "not a JSON object");
    for (std::size_t length = 0; length < good.size(); ++length)
        EXPECT_NE(refusal(good.substr(0, length)), "accepted") << length;
}

TEST_F(Safetensors, RefusesWrongJson) {
    expect_refused(file_bytes("[]", ""), "not a JSON object");
    expect_refused(file_bytes("{", ""), "not valid JSON");
    expect_refused(file_bytes("{}x", ""), "not valid JSON");
    expect_refused(file_bytes(" {}", ""), "not a JSON object");
    expect_refused(file_bytes("{\"\xff\":1}", ""), "not valid JSON");
    expect_refused(file_bytes("{\"__metadata__\":{\"k\":\"\xc3\x28\"}}", ""), "not valid JSON");
    expect_refused(file_bytes(R"({"a":[[[[1]]]]})", ""), "nested too deeply");
    expect_refused(file_bytes("{\"a\":" + std::string(1000000, '['), ""), "nested too deeply");
    std::string objects;
    for (int i = 0; i < 100000; ++i) objects += R"({"a":)";
    expect_refused(file_bytes(objects, ""), "nested too deeply");
    expect_refused(file_bytes(R"({"__metadata__":{"k":1}})", ""), "is not a string");
    expect_refused(file_bytes(R"({"__metadata__":[]})", ""), "not an object");
    const std::string entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    expect_refused(file_bytes(R"({"a":)" + entry + R"(,"a":)" + entry + "}", ""), "'a' twice");
    expect_refused(file_bytes(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", ""),
                   "'dtype' twice");
    expect_refused(file_bytes(R"({"__metadata__":{},"__metadata__":{}})", ""), "'__metadata__' twice");
}

TEST_F(Safetensors, RefusesWrongEntries) {
    const auto one = [](const std::string& entry, const std::string& data = "xy") {
        return file_bytes("{\"a\":" + entry + "}", data);
    };
    expect_refused(one("7"), "not described by an object");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":2})"), "are not two numbers");
    expect_refused(one(R"({"shape":[2],"data_offsets":[0,2]})"), "has no dtype");
    expect_refused(one(R"({"dtype":"U8","data_offsets":[0,2]})"), "has no shape");
    expect_refused(one(R"({"dtype":"U8","shape":[2]})"), "has no data_offsets");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[0,2],"more":1})"), "unknown key 'more'");
    expect_refused(one(R"({"dtype":"Q7","shape":[2],"data_offsets":[0,2]})"), "unknown element type 'Q7'");
    expect_refused(one(R"({"dtype":7,"shape":[2],"data_offsets":[0,2]})"), "unknown element type");
    expect_refused(one(R"({"dtype":"U8","shape":2,"data_offsets":[0,2]})"), "list of at most 4");
    expect_refused(one(R"({"dtype":"U8","shape":[1,1,1,1,2],"data_offsets":[0,2]})"), "list of at most 4");
    expect_refused(one(R"({"dtype":"U8","shape":[-2],"data_offsets":[0,2]})"), "whole numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[2.0],"data_offsets":[0,2]})"), "whole numbers");
    expect_refused(one(R"({"dtype":"U8","shape":["2"],"data_offsets":[0,2]})"), "whole numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]})"),
                   "whole numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,2]})"), "too large");
    // 2^62 * 4 * ... wraps around to 0 bytes; so does 2^32 * 2^32.
    expect_refused(one(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"), "too large");
    expect_refused(one(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})"),
                   "too large");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[0]})"), "two numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[0,1,2]})"), "two numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[2,0]})"), "outside the file");
    expect_refused(one(R"({"dtype":"U8","shape":[3],"data_offsets":[0,3]})"), "outside the file");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[0,18446744073709551615]})"), "outside");
    expect_refused(one(R"({"dtype":"U8","shape":[2],"data_offsets":[-1,1]})"), "whole numbers");
    expect_refused(one(R"({"dtype":"U8","shape":[1],"data_offsets":[0,2]})"), "2 bytes of data");
    expect_refused(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,2]})"), "its shape needs 8");
}

TEST_F(Safetensors, RefusesDataThatDoesNotTile) {
    const auto two = [](int a, int b, int c, int d) {
        return file_bytes(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                                      R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                                      b - a, a, b, d - c, c, d),
                          "wxyz");
    };
    EXPECT_EQ(refusal(two(0, 2, 2, 4)), "accepted");
    EXPECT_EQ(refusal(two(3, 4, 0, 3)), "accepted");
    expect_refused(two(0, 3, 2, 4), "overlaps");
    expect_refused(two(0, 4, 0, 4), "overlaps");
    expect_refused(two(0, 1, 2, 4), "gap");
    expect_refused(two(1, 2, 2, 4), "gap");
    expect_refused(two(0, 2, 2, 3), "1 bytes at its end");
    expect_refused(file_bytes("{}", "z"), "1 bytes at its end");
}

TEST_F(Safetensors, RefusesWhatIsNoFile) {
    EXPECT_THROW(SafetensorsFile(folder_.path() / "absent"), Error);
    EXPECT_THROW(SafetensorsFile(folder_.path()), Error);
    EXPECT_THROW(SafetensorsFile("/dev/zero"), Error);
}

TEST_F(Safetensors, WriterChecksItsArguments) {
    const std::array<std::uint8_t, 2> bytes{};
    const auto path = folder_.path() / "file";
    const TensorToWrite good{"u", DType::u8, {2}, std::as_bytes(std::span(bytes))};
    TensorToWrite wrong = good;
    wrong.shape = {3};
    EXPECT_THROW(write_safetensors(path, {}, std::array{wrong}), Error);
    EXPECT_THROW(write_safetensors(path, {}, std::array{good, good}), Error);
    EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace qstep

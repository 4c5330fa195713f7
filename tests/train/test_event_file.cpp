#include "train/event_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <map>
#include <vector>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

// A second implementation of everything, bit by bit and field by field, to read files back.

std::uint32_t slow_crc32c(const std::string& bytes) {
    std::uint32_t crc = ~0u;
    for (const char c : bytes)
        for (int bit = 0; bit < 8; ++bit) {
            const bool differs = ((crc ^ static_cast<unsigned char>(c) >> bit) & 1) != 0;
            crc = (crc >> 1) ^ (differs ? 0x82f63b78u : 0);
        }
    return ~crc;
}

template <typename Number>
Number number_at(const std::string& bytes, std::size_t at) {
    Number value;
    if (at + sizeof value > bytes.size()) throw std::runtime_error("the file ends inside a number");
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

std::vector<std::string> records_of(const std::string& file) {
    const auto masked = [](const std::string& bytes) {
        const std::uint32_t crc = slow_crc32c(bytes);
        return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
    };
    std::vector<std::string> records;
    for (std::size_t at = 0; at < file.size();) {
        const auto length = number_at<std::uint64_t>(file, at);
        EXPECT_EQ(number_at<std::uint32_t>(file, at + 8), masked(file.substr(at, 8)));
        const std::string record = file.substr(at + 12, length);
        EXPECT_EQ(number_at<std::uint32_t>(file, at + 12 + length), masked(record));
        records.push_back(record);
        at += 12 + length + 4;
    }
    return records;
}

// Field numbers to raw values: 8 or 4 bytes, a varint's as 8 bytes, or what is length-delimited.
std::multimap<int, std::string> fields_of(const std::string& message) {
    std::multimap<int, std::string> fields;
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<unsigned char>(message.at(at++));
            value |= std::uint64_t{byte & 0x7fu} << shift;
            if (byte < 0x80) return value;
        }
    };
    while (at < message.size()) {
        const std::uint64_t key = varint();
        std::string value;
        if (const int type = key & 7; type == 0) {
            const std::uint64_t number = varint();
            value.assign(reinterpret_cast<const char*>(&number), sizeof number);
        } else {
            const std::size_t length = type == 1 ? 8 : type == 5 ? 4 : varint();
            value = message.substr(at, length);
            EXPECT_EQ(value.size(), length);
            at += length;
        }
        fields.emplace(static_cast<int>(key >> 3), value);
    }
    return fields;
}

std::string only(const std::multimap<int, std::string>& fields, int number) {
    EXPECT_EQ(fields.count(number), 1u) << number;
    const auto found = fields.find(number);
    return found == fields.end() ? std::string(8, '\0') : found->second;
}

std::vector<double> doubles(const std::string& packed) {
    std::vector<double> values;
    for (std::size_t at = 0; at < packed.size(); at += 8) values.push_back(number_at<double>(packed, at));
    return values;
}

TEST(EventFile, Crc32cOfRfc3720) {
    std::string rising(32, '\0');
    for (int i = 0; i < 32; ++i) rising[static_cast<std::size_t>(i)] = static_cast<char>(i);
    EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
    EXPECT_EQ(crc32c(rising), 0x46dd794eu);
    EXPECT_EQ(crc32c(""), 0u);
}

TEST(EventFile, BeginsWithVersionAndStart) {
    TemporaryFolder folder;
    const EventFile file(folder.path(), 300);
    EXPECT_EQ(file.path().filename().string().find("events.out.tfevents."), 0u);
    const auto records = records_of(read_bytes(file.path()));
    ASSERT_EQ(records.size(), 2u);
    EXPECT_EQ(only(fields_of(records[0]), 3), "brain.Event:2");
    const auto start = fields_of(records[1]);
    EXPECT_EQ(number_at<std::int64_t>(only(start, 2), 0), 300);
    EXPECT_EQ(number_at<std::int64_t>(only(fields_of(only(start, 7)), 1), 0), 1);
    // Seconds since 1970, between 2020 and 2100.
    EXPECT_GT(number_at<double>(only(start, 1), 0), 1.5e9);
    EXPECT_LT(number_at<double>(only(start, 1), 0), 4.2e9);
}

TEST(EventFile, Scalars) {
    TemporaryFolder folder;
    EventFile file(folder.path(), 1);
    EventValues values;
    values.scalar("a/tag", 0.1);
    values.scalar("other", -3.5);
    file.add(123456789012, values);
    const auto records = records_of(read_bytes(file.path()));
    ASSERT_EQ(records.size(), 3u);
    const auto event = fields_of(records[2]);
    EXPECT_EQ(number_at<std::int64_t>(only(event, 2), 0), 123456789012);
    const auto summary = fields_of(only(event, 5));
    ASSERT_EQ(summary.count(1), 2u);
    auto value = summary.begin();
    EXPECT_EQ(only(fields_of(value->second), 1), "a/tag");
    EXPECT_EQ(number_at<float>(only(fields_of(value->second), 2), 0), 0.1f);
    ++value;
    EXPECT_EQ(only(fields_of(value->second), 1), "other");
    EXPECT_EQ(number_at<float>(only(fields_of(value->second), 2), 0), -3.5f);
}

TEST(EventFile, HistogramsWithoutEmptyEnds) {
    TemporaryFolder folder;
    EventFile file(folder.path(), 1);
    EventValues values;
    // Eight bins of width 0.5 from -2 to 2.
    const std::vector<float> numbers{-0.75f, -0.9f, 0.8f, 1.25f};
    values.histogram("h", histogram(numbers, 2.0f, 8));
    file.add(7, values);
    const auto event = fields_of(records_of(read_bytes(file.path())).at(2));
    const auto value = fields_of(only(fields_of(only(event, 5)), 1));
    EXPECT_EQ(only(value, 1), "h");
    const auto proto = fields_of(only(value, 5));
    EXPECT_EQ(number_at<double>(only(proto, 1), 0), double{-0.9f});
    EXPECT_EQ(number_at<double>(only(proto, 2), 0), 1.25);
    EXPECT_EQ(number_at<double>(only(proto, 3), 0), 4.0);
    EXPECT_NEAR(number_at<double>(only(proto, 4), 0), 0.4, 1e-6);
    EXPECT_NEAR(number_at<double>(only(proto, 5), 0), 0.5625 + 0.81 + 0.64 + 1.5625, 1e-6);
    EXPECT_EQ(doubles(only(proto, 6)), (std::vector<double>{-0.5, 0.5, 1.0, 1.25}));
    EXPECT_EQ(doubles(only(proto, 7)), (std::vector<double>{2.0, 0.0, 1.0, 1.0}));
}

// TensorBoard reads them in the order of their names.
TEST(EventFile, LaterFilesSortBehindEarlierOnes) {
    TemporaryFolder folder;
    std::string before;
    for (int i = 0; i < 20; ++i) {
        const EventFile file(folder.path(), i);
        EXPECT_LT(before, file.path().filename().string());
        before = file.path().filename().string();
    }
}

TEST(EventFile, SaysWhereItCannotWrite) {
    TemporaryFolder folder;
    try {
        EventFile(folder.path() / "absent", 1);
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run);
        EXPECT_NE(std::string(error.what()).find("absent/events.out.tfevents"), std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace qstep

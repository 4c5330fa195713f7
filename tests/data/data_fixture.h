// What the data tests share: small CIFAR-10 files, random data sets.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/error.h"
#include "engine/random.h"
#include "tests/temporary_folder.h"

namespace qstep {

inline constexpr const char* kCifarFiles[6] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                               "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

/// Byte `b` of record `r` of file `f`; labels are below 10.
inline std::uint8_t record_byte(int f, std::int64_t r, std::int64_t b) {
    const std::uint32_t bits = RandomStream{99, Purpose::synthetic_data, static_cast<std::uint32_t>(f)}.bits(
        static_cast<std::uint64_t>(r * 3073 + b));
    return static_cast<std::uint8_t>(b == 0 ? bits % 10 : bits);
}

inline std::string record_bytes(int f, std::int64_t records) {
    std::string bytes;
    for (std::int64_t r = 0; r < records; ++r)
        for (std::int64_t b = 0; b < 3073; ++b) bytes.push_back(static_cast<char>(record_byte(f, r, b)));
    return bytes;
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream out(path, std::ios::binary);
    out << bytes;
    ASSERT_TRUE(out.good()) << path;
}

/// Six files; file f holds f + 1 records.
inline void write_cifar_files(const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    for (int f = 0; f < 6; ++f) write_file(folder / kCifarFiles[f], record_bytes(f, f + 1));
}

inline Dataset random_dataset(std::int64_t count, std::uint64_t seed) {
    const RandomStream stream{seed, Purpose::synthetic_data, 7};
    Dataset dataset;
    dataset.name = "random images";
    for (std::int64_t i = 0; i < count; ++i)
        dataset.labels.push_back(static_cast<std::uint8_t>(stream.below(static_cast<std::uint64_t>(i), 10)));
    for (std::int64_t i = 0; i < count * kImageBytes; ++i)
        dataset.images.push_back(
            static_cast<std::uint8_t>(stream.bits(static_cast<std::uint64_t>(i + (1 << 20)))));
    return dataset;
}

/// The sentence of the error that `call` must throw; fails the test when it throws none or another kind.
template <typename Call>
std::string error_of(ErrorKind kind, Call&& call) {
    try {
        call();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

}  // namespace qstep

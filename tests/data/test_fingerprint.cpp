#include "data/fingerprint.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "data/synthetic.h"

namespace qstep {
namespace {

TEST(Fingerprint, HashesAsPublished) {
    const auto hash_of = [](std::string_view text) {
        return xxh64({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, 0);
    };
    EXPECT_EQ(hash_of(""), 0xef46db3751d8e999u);
    EXPECT_EQ(hash_of("a"), 0xd24ec4f1a98c6e5bu);
    EXPECT_EQ(hash_of("abc"), 0x44bc2cf5ad770999u);
    EXPECT_EQ(hash_of("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1u);
}

// What the Python package xxhash 3 (libxxhash 0.8) says of bytes i*7+n, for every kind of rest behind the
// stripes.
TEST(Fingerprint, HashesAsTheLibrary) {
    struct Expected {
        std::size_t count;
        std::uint64_t plain, seeded;
    };
    constexpr std::uint64_t kSeed = 0x9e3779b97f4a7c15u;
    for (const Expected& expected : {Expected{7, 0x2163df11c0cdf8cdu, 0xe93b547916a0b504u},
                                     {8, 0xd5474d6ca50def58u, 0x0fb0d4aa1e0fe219u},
                                     {12, 0xa4743d1733af563bu, 0x834c7342784c42adu},
                                     {31, 0xc025b4c3c4880c7au, 0x90d7148cee4376a6u},
                                     {32, 0x178ae25cee6f7994u, 0x6276aedeb413740bu},
                                     {33, 0x4072a28263e977efu, 0x73a730819dd67ff7u},
                                     {64, 0xcf35552f599ba94du, 0x4f73452f1b9ac846u},
                                     {79, 0xd7cc166549da1121u, 0xd2ec282b2bc6e5b7u},
                                     {1000, 0x958e6485b0af5378u, 0xff20d24052ffaca9u}}) {
        std::vector<std::uint8_t> bytes;
        for (std::size_t i = 0; i < expected.count; ++i)
            bytes.push_back(static_cast<std::uint8_t>(i * 7 + expected.count));
        EXPECT_EQ(xxh64(bytes, 0), expected.plain) << expected.count;
        EXPECT_EQ(xxh64(bytes, kSeed), expected.seeded) << expected.count;
    }
}

TEST(Fingerprint, TellsDataApart) {
    const DataSplits data = make_synthetic(20, 10);
    std::set<std::string> seen{fingerprint(data)};
    const auto expect_new = [&](const auto& change) {
        DataSplits changed = data;
        change(changed);
        EXPECT_TRUE(seen.insert(fingerprint(changed)).second);
    };
    expect_new([](DataSplits& splits) { splits.train.images.back() ^= 0x80; });
    expect_new([](DataSplits& splits) { splits.train.labels[7] ^= 1; });
    expect_new([](DataSplits& splits) { std::swap(splits.train.labels[7], splits.train.labels[8]); });
    expect_new([](DataSplits& splits) { splits.test.images.front() ^= 1; });
    expect_new([](DataSplits& splits) { splits.test.labels.back() ^= 1; });
    expect_new([](DataSplits& splits) { splits = make_synthetic(20, 10, 1); });
    expect_new([](DataSplits& splits) { splits = make_synthetic(19, 10); });
    expect_new([](DataSplits& splits) { std::swap(splits.train, splits.test); });

    DataSplits renamed = data;
    renamed.train.name = "others";
    EXPECT_EQ(fingerprint(renamed), fingerprint(data));
    EXPECT_EQ(fingerprint(data).size(), 33u);
}

}  // namespace
}  // namespace qstep

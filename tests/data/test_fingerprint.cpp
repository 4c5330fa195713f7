#include "data/fingerprint.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

#include "data/synthetic.h"

namespace qstep {
namespace {

// What the Python package xxhash 4.1 says of them. Checkpoints keep it, so it must stay as it is.
TEST(Fingerprint, HashesAsPublished) {
    const auto set_of = [](std::vector<std::uint8_t> labels) {
        Dataset set{"", false, std::vector<std::uint8_t>(labels.size() * kImageBytes), std::move(labels)};
        for (std::size_t i = 0; i < set.images.size(); ++i) set.images[i] = static_cast<std::uint8_t>(i * 7);
        return set;
    };
    EXPECT_EQ(fingerprint({set_of({3, 1, 9}), set_of({7})}), "cabc8f967d8dc534-574f485ec7454a59");
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

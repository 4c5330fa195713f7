#include "data/epoch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/error.h"

namespace qstep {
namespace {

bool is_permutation_of_first(std::vector<std::int32_t> order) {
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < order.size(); ++i)
        if (order[i] != static_cast<std::int32_t>(i)) return false;
    return true;
}

TEST(EpochOrder, IsAPermutationForEverySize) {
    for (const std::int64_t count : {0, 1, 2, 3, 5, 127, 128, 129, 50000}) {
        const auto order = epoch_order(count, 3, 1);
        ASSERT_EQ(static_cast<std::int64_t>(order.size()), count);
        EXPECT_TRUE(is_permutation_of_first(order)) << count;
    }
}

TEST(EpochOrder, DependsOnSeedAndEpochAndNothingElse) {
    const auto order = epoch_order(1000, 1, 0);
    EXPECT_EQ(order, epoch_order(1000, 1, 0));
    EXPECT_NE(order, epoch_order(1000, 1, 1));
    EXPECT_NE(order, epoch_order(1000, 2, 0));
    EXPECT_NE(order, epoch_order(1000, 1 + (std::uint64_t{1} << 32), 0));
}

TEST(EpochOrder, EveryPermutationOfFourIsEquallyLikely) {
    constexpr std::uint32_t kEpochs = 24000;
    // Chi-squared with 23 degrees of freedom: above 60 with probability 4e-5. The draws are fixed, so this
    // passes always or never.
    constexpr double kChiSquaredLimit = 60.0;
    std::map<std::vector<std::int32_t>, int> seen;
    for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) ++seen[epoch_order(4, 11, epoch)];
    ASSERT_EQ(seen.size(), 24u);
    double chi_squared = 0;
    for (const auto& [order, times] : seen) chi_squared += (times - 1000.0) * (times - 1000.0) / 1000.0;
    EXPECT_LT(chi_squared, kChiSquaredLimit);
}

TEST(EpochOrder, RefusesImpossibleCounts) {
    EXPECT_THROW(epoch_order(-1, 0, 0), Error);
    EXPECT_THROW(epoch_order(std::int64_t{1} << 31, 0, 0), Error);
}

}  // namespace
}  // namespace qstep

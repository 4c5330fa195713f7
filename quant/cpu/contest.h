// The least of some lines (quant/group.h) at several places together, for the dynamic program of `smart`.
#pragma once

#include <cstdint>
#include <limits>

#include "quant/group.h"

namespace qstep::quant::cpu {

/// Lanes of for_each_argmin: what they look for and what they found.
struct Contest {
    double value[kArgminBlock], slope[kArgminBlock];
    std::int64_t last[kArgminBlock];
    double least[kArgminBlock];
    std::int64_t index[kArgminBlock];
};

/// Offers line i to all lanes.
inline void offer(const Lines& lines, std::int64_t i, const Contest& lanes, double* least,
                  std::int64_t* index) {
#pragma omp simd
    for (std::int64_t l = 0; l < kArgminBlock; ++l) {
        const double here = lines.at(i, lanes.value[l], lanes.slope[l]);
        const bool better = (here < least[l]) & (i <= lanes.last[l]);
        least[l] = better ? here : least[l];
        index[l] = better ? i : index[l];
    }
}
/// Of two winners the lower, and of equals the first.
inline void merge_winners(double* least, std::int64_t* index, const double* others,
                          const std::int64_t* other_index) {
#pragma omp simd
    for (std::int64_t l = 0; l < kArgminBlock; ++l) {
        const bool wins = (others[l] < least[l]) | ((others[l] == least[l]) & (other_index[l] < index[l]));
        least[l] = wins ? others[l] : least[l];
        index[l] = wins ? other_index[l] : index[l];
    }
}

/// Four neighbouring lines are offered to four sets of winners, because each comparison waits for the one
/// before it. All arrays are copied, by loops of their own, so that the compiler keeps them in registers.
inline void find_least(const Lines& lines, std::int64_t low, std::int64_t high, Contest& contest) {
    constexpr std::int64_t kSets = kArgminPadding + 1;
    static_assert(kSets == 4);
    double least[kSets][kArgminBlock];
    std::int64_t index[kSets][kArgminBlock];
    Contest lanes;
    const Lines copied = lines;
#pragma omp simd
    for (std::int64_t l = 0; l < kArgminBlock; ++l) {
        lanes.value[l] = contest.value[l];
        lanes.slope[l] = contest.slope[l];
        lanes.last[l] = contest.last[l] < high ? contest.last[l] : high;
        least[0][l] = least[1][l] = least[2][l] = least[3][l] = std::numeric_limits<double>::infinity();
        index[0][l] = index[1][l] = index[2][l] = index[3][l] = low;
    }
    std::int64_t i = low;
    do {
        offer(copied, i, lanes, least[0], index[0]);
        offer(copied, i + 1, lanes, least[1], index[1]);
        offer(copied, i + 2, lanes, least[2], index[2]);
        offer(copied, i + 3, lanes, least[3], index[3]);
        i += kSets;
    } while (i <= high);
    merge_winners(least[0], index[0], least[1], index[1]);
    merge_winners(least[2], index[2], least[3], index[3]);
    merge_winners(least[0], index[0], least[2], index[2]);
#pragma omp simd
    for (std::int64_t l = 0; l < kArgminBlock; ++l) {
        contest.least[l] = least[0][l];
        contest.index[l] = index[0][l];
    }
}

}  // namespace qstep::quant::cpu

// Where the points of the least variance can lie (quant/optimal_points.h), before they are looked for.
//
// Between neighbours at i and j a point costs least at m(i,j), the value at which S0 passes
// (B_j - B_i) / (v_j - v_i), and m grows with i and j, as the costs satisfy the quadrangle inequality. So the
// t-th of the best points is m of the two beside it, and from bounds of all points follow closer ones:
// low_t <- m(low_{t-1}, low_{t+1}), likewise high_t (Lloyd's iteration, "Least squares quantization in PCM",
// 1982, from both ends). Of 512 normal numbers and 16 levels they leave a quarter of the positions on
// average.
#pragma once

#include <cstdint>

#include "quant/group.h"

namespace qstep::quant {

/// How often bounds are made closer; of more levels than this it would take longer than it saves.
inline constexpr int kBracketSweeps = 40;
inline constexpr std::int64_t kMostBracketed = 64;

/// Where a point between neighbours costs least, of elements that stand for one each.
template <typename Index>
class BestPlace {
  public:
    /// Of n sorted values, so scaled that n times their range is a float.
    QSTEP_HOST_DEVICE BestPlace(const double* value, const double* slope, std::int64_t n)
        : value_(value), slope_(slope) {
        const auto count = static_cast<double>(n);
        unsure_ = static_cast<float>(kRounding * count * (value[n - 1] - value[0]));
    }
    /// m(i,j) for i <= j, rounding on the side of lower places or, above, of higher. Among equal values any.
    QSTEP_HOST_DEVICE Index bound(Index i, Index j, bool above) const {
        const float shift = above ? unsure_ : -unsure_, slack = above ? 1 + kSlack : 1 - kSlack;
        const auto gap = static_cast<float>(value_[j] - value_[i]);
        const float elements = (static_cast<float>(slope_[j] - slope_[i]) + shift) / gap * slack;
        auto found = static_cast<Index>(smaller(kMost, larger(0.0f, elements)));
        found = found > i ? found : i;
        found = found < j ? found : j;
        // Where v_i = v_j a point costs nothing anywhere.
        return gap > 0 ? found : above ? j : i;
    }

  private:
    /// No sum is larger than n times the range. Of up to 4096 elements (prefix_sums) it is off by less than
    /// this share of that; of millions it was seen off by six times as much, and the least cost by 4e-15 of
    /// itself.
    static constexpr double kRounding = 0x1p-46;
    /// Above the rounding of a quotient of floats.
    static constexpr float kSlack = 0x1p-21f;
    static constexpr float kMost = 0x1p27f;

    const double *value_, *slope_;
    float unsure_;
};

/// Bounds of the points' positions: low[t] <= t-th <= high[t], ends included, of a best choice. Both ascend.
template <typename Group, typename Scratch>
QSTEP_HOST_DEVICE void bracket_points(Group& group, const Scratch& s,
                                      const BestPlace<typename Group::Index>& best, std::int64_t n,
                                      std::int64_t levels, int sweeps) {
    using Index = typename Group::Index;
    const auto end = static_cast<std::uint32_t>(n - 1);
    std::uint32_t *const low = s.low, *const high = s.high;
    group.for_each(levels, [=](std::int64_t t) {
        low[t] = t == levels - 1 ? end : 0;
        high[t] = t == 0 ? 0 : end;
    });
    group.by_few([=](const auto& few) {
        // Of the inner points first the odd ones, then the even ones.
        for (int half = 0; half < 2 * sweeps; ++half) {
            const int first = 1 + half % 2, count = (static_cast<int>(levels) - first) / 2;
            few.for_each(2 * count, [=](std::int64_t item) {
                const auto number = static_cast<int>(item);
                const bool upper = number >= count;
                const int t = first + 2 * (upper ? number - count : number);
                std::uint32_t* const bound = (upper ? high : low) + t;
                const auto left = static_cast<Index>(bound[-1]), right = static_cast<Index>(bound[1]);
                *bound = static_cast<std::uint32_t>(best.bound(left, right, upper));
            });
            few.barrier();
        }
    });
    // Among costs that differ by rounding alone they may have crossed. Layers begin where a vector does.
    group.for_each(levels - 1, [=](std::int64_t t) {
        if (high[t] < low[t]) high[t] = low[t];
        low[t] = low[t] / kArgminBlock * kArgminBlock;
    });
    group.barrier();
}

}  // namespace qstep::quant

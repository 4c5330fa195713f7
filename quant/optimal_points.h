// The k points, both ends included, that a sorted sample v_0 <= ... <= v_{n-1} is rounded to with the least
// variance: an exact dynamic program ("ZipML", Zhang, Li, Kara, Alistarh, Liu, Zhang, 2017, section 3).
//
// With C(i,j) = sum over i <= t <= j of (v_t - v_i)(v_j - v_t) and D_t[j] the least cost of t intervals that
// end at v_j:  D_1[j] = C(0,j);  D_t[j] = min over i <= j of D_{t-1}[i] + C(i,j). The answer is D_{k-1}[n-1].
//
// C satisfies the quadrangle inequality, so the best i grows with j (a search tree, O(k n log n)) and, for
// the same j, with t. Of the last layer only D_{k-1}[n-1] is worked out. From prefix sums S0, S1, S2 of
// 1, v, v^2,
//   C(i,j) = G_i - G_j + v_j B_i - v_i B_j,   G = S2 - v S1,  B = v S0 - S1.
// The differences cancel, so values are taken relative to the median and everything is double.
#pragma once

#include <cstdint>

#include "quant/group.h"

namespace qstep::quant {

/// Arrays of one fit, cut from a group's scratch memory. Choice: an integer that holds n - 1.
template <typename Choice = std::uint32_t>
struct PointsScratch {
    double* value;    // v - median
    double* squares;  // S2, then G
    double* slope;    // B
    double* cost;     // S1, then D + G of the layer before
    double* next;     // D + G of this layer
    Choice* choice;   // best i of each layer t = 2 .. k-1: choice[(t-2) * n + j]

    static constexpr std::int64_t kArrays = 5;
    static constexpr std::int64_t kPadding = 8;

    /// Bytes for n values and `levels` points, a multiple of 8.
    static QSTEP_HOST_DEVICE std::int64_t bytes(std::int64_t n, std::int64_t levels) {
        const std::int64_t choices = (levels > 2 ? levels - 2 : 0) * n;
        return kArrays * stride(n) * 8 + (choices * static_cast<std::int64_t>(sizeof(Choice)) + 7) / 8 * 8;
    }
    /// Elements from one array to the next: a vector may be read whole behind the last value.
    static QSTEP_HOST_DEVICE std::int64_t stride(std::int64_t n) { return (n + 2 * kPadding - 1) / 8 * 8; }
    static QSTEP_HOST_DEVICE PointsScratch at(void* memory, std::int64_t n) {
        auto* base = static_cast<double*>(memory);
        const std::int64_t s = stride(n);
        return {base,         base + s,     base + 2 * s,
                base + 3 * s, base + 4 * s, reinterpret_cast<Choice*>(base + kArrays * s)};
    }
};

/// Prefix sums of the n values f(0, i) to first[i] and f(1, i) to second[i]: runs of 64 are added up one by
/// one, then the runs' totals are.
template <typename Group, typename F>
QSTEP_HOST_DEVICE void prefix_sums(Group& group, double* first, double* second, std::int64_t n, F f) {
    constexpr std::int64_t kRun = 64;
    const std::int64_t runs = (n + kRun - 1) / kRun;
    group.for_each(2 * runs, [=](std::int64_t item) {
        const std::int64_t which = item < runs ? 0 : 1, begin = (item - which * runs) * kRun;
        double* to = which == 0 ? first : second;
        double total = 0;
        const std::int64_t end = begin + kRun < n ? begin + kRun : n;
        for (std::int64_t i = begin; i < end; ++i) to[i] = total += f(which, i);
    });
    group.barrier();
    group.for_each(2, [=](std::int64_t which) {
        double* to = which == 0 ? first : second;
        // The last element of a run turns into the sum up to there; the others follow below.
        for (std::int64_t run = 1; run < runs; ++run) {
            const std::int64_t last = (run + 1) * kRun < n ? (run + 1) * kRun - 1 : n - 1;
            to[last] += to[run * kRun - 1];
        }
    });
    group.barrier();
    group.for_each(n - kRun, [=](std::int64_t i) {
        const std::int64_t e = i + kRun;
        if (e % kRun == kRun - 1 || e == n - 1) return;
        first[e] += first[e / kRun * kRun - 1];
        second[e] += second[e / kRun * kRun - 1];
    });
    group.barrier();
}

/// Fills value, squares (G), slope (B) from the sorted sample v(i).
template <typename Group, typename Scratch, typename F>
QSTEP_HOST_DEVICE void prepare_costs(Group& group, const Scratch& s, std::int64_t n, F v) {
    const double median = v(n / 2);
    group.for_each(n, [=](std::int64_t i) { s.value[i] = v(i) - median; });
    group.barrier();
    double* sum = s.cost;
    prefix_sums(group, sum, s.squares, n, [=](std::int64_t which, std::int64_t i) {
        const double value = s.value[i];
        return which == 0 ? value : value * value;
    });
    group.for_each(n, [=](std::int64_t i) {
        s.slope[i] = s.value[i] * static_cast<double>(i + 1) - sum[i];
        s.squares[i] -= s.value[i] * sum[i];
    });
    group.barrier();
}

/// One layer: D of this layer at j = min over i of cost[i] + C(i,j) - G_i; `before`: the choices of the layer
/// before, or null.
///
/// Positions are settled on a tree that is kArgminBlock + 1 wide: between two settled ones lie kArgminBlock
/// of the next level, which all search between the choices of those two. Together with its neighbours a level
/// looks at little more than n indices, and those of a block share each load.
///
/// n < 2^27, so that no index that is made of it leaves 32 bits.
template <typename Group, typename Choice>
QSTEP_HOST_DEVICE void points_layer(Group& group, const PointsScratch<Choice>& s, std::int64_t count,
                                    Choice* choice, const Choice* before, bool last) {
    using Index = typename Group::Index;
    constexpr auto kWide = static_cast<Index>(kArgminBlock + 1);
    const auto n = static_cast<Index>(count);
    Index step = 1;
    while (static_cast<Index>(kArgminBlock) * step < n) step *= kWide;
    const Index top = step;
    for (; step > 0; step = last ? 0 : step / kWide) {
        // Position n - 1 is settled with the top level; below, what lies beyond it is not stored.
        const auto position = [=](Index block, Index lane) {
            const Index j = (block * kWide + lane + 1) * step - 1;
            return j < n ? j : n - 1;
        };
        // A GPU divides 64 bits by subroutine.
        const std::uint32_t blocks =
            static_cast<std::uint32_t>(n - 1) / static_cast<std::uint32_t>(kWide * step) + 1;
        group.for_each_argmin(
            blocks, Lines{s.cost, s.slope, s.value},
            [=](Index block) {
                const Index first = position(block, 0), end = (block + 1) * kWide * step - 1;
                const Index right = end < n ? end : n - 1;
                const Index high = step == top ? n - 1 : static_cast<Index>(choice[right]);
                Index low = block > 0 ? static_cast<Index>(choice[block * kWide * step - 1]) : 0;
                if (before != nullptr && static_cast<Index>(before[first]) > low)
                    low = static_cast<Index>(before[first]);
                // Among costs that differ by rounding alone choices need not grow.
                return IndexRange{low < high ? low : high, high};
            },
            [=](Index block, Index lane) {
                const Index j = position(block, lane);
                return LineTarget{s.value[j], s.slope[j], j};
            },
            [=](Index block, Index lane, Index i, double cost) {
                const Index j = position(block, lane);
                if (j == n - 1 && step < top) return;
                choice[j] = static_cast<Choice>(i);
                s.next[j] = (cost - s.squares[j]) + s.squares[j];
            });
        group.barrier();
    }
}

/// Writes the positions of at most `levels` points, ascending, ends included, to positions[0 .. levels) and
/// returns the cost D (in every thread). n > levels >= 2; value, squares (G) and slope (B) are filled in.
template <typename Group, typename Choice>
QSTEP_HOST_DEVICE double optimal_points(Group& group, PointsScratch<Choice> s, std::int64_t n,
                                        std::int64_t levels, std::uint32_t* positions) {
    const double first_value = s.value[0], first_slope = s.slope[0], first_squares = s.squares[0];
    group.for_each(n, [=](std::int64_t j) {
        const double least =
            first_squares - s.squares[j] + (s.value[j] * first_slope - first_value * s.slope[j]);
        s.next[j] = least + s.squares[j];
    });
    group.barrier();
    for (std::int64_t layer = 2; layer < levels; ++layer) {
        double* const before = s.next;
        s.next = s.cost;
        s.cost = before;
        Choice* choice = s.choice + (layer - 2) * n;
        points_layer(group, s, n, choice, layer > 2 ? choice - n : nullptr, layer == levels - 1);
    }
    const double least = s.next[n - 1] - s.squares[n - 1];
    group.barrier();
    if (group.rank() == 0) {
        auto j = static_cast<Choice>(n - 1);
        positions[levels - 1] = j;
        for (std::int64_t layer = levels - 1; layer >= 2; --layer)
            positions[layer - 1] = j = s.choice[(layer - 2) * n + j];
        positions[0] = 0;
    }
    group.barrier();
    return least;
}

}  // namespace qstep::quant

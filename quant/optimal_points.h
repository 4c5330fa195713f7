// The k points, both ends included, that a sorted sample v_0 <= ... <= v_{n-1} is rounded to with the least
// variance: an exact dynamic program ("ZipML", Zhang, Li, Kara, Alistarh, Liu, Zhang, 2017, section 3).
//
// With C(i,j) = sum over i <= t <= j of (v_t - v_i)(v_j - v_t) and D_t[j] the least cost of t intervals that
// end at v_j:  D_1[j] = C(0,j);  D_t[j] = min over i <= j of D_{t-1}[i] + C(i,j). The answer is D_{k-1}[n-1].
//
// C satisfies the quadrangle inequality, so the best i, the choice, grows with j and, for the same j, with t.
// Of the last layer only D_{k-1}[n-1] is worked out. From prefix sums S0, S1, S2 of 1, v, v^2,
//   C(i,j) = G_i - G_j + v_j B_i - v_i B_j,   G = S2 - v S1,  B = v S0 - S1.
// The differences cancel, so values are taken relative to the median and everything is double.
//
// Where to look: between neighbours at i and j a point costs least at m(i,j), the first value for which
// S0 >= (B_j - B_i) / (v_j - v_i), and m grows with i and j. A choice c of layer t at j is m(i,j) for i = the
// choice of layer t-1 at c. So from bounds low <= c <= high follow the bounds m(choice of t-1 at low, j) and
// m(choice of t-1 at high, j); of 512 normal numbers three rounds of that leave 6 on average.
#pragma once

#include <cstdint>

#include "quant/group.h"

namespace qstep::quant {

/// Positions that a layer settles without neighbours, and how often their bounds are tightened.
inline constexpr std::int64_t kSettledAlone = 1024;
inline constexpr int kBoundRounds = 3;

/// Arrays of one fit, cut from a group's scratch memory. Choice: an integer that holds n - 1.
template <typename Choice = std::uint32_t>
struct PointsScratch {
    double* value;    // v - median
    double* squares;  // S2, then G
    double* slope;    // B
    double* cost;     // S1, then D + G of the layer before
    double* next;     // D + G of this layer
    Choice* choice;   // best i of each layer t = 2 .. k-1: choice[(t-2) * row(n) + j]

    static constexpr std::int64_t kArrays = 5;
    static constexpr std::int64_t kPadding = 8;

    /// Bytes for n values and `levels` points, a multiple of 8.
    static QSTEP_HOST_DEVICE std::int64_t bytes(std::int64_t n, std::int64_t levels) {
        const std::int64_t choices = (levels > 2 ? levels - 2 : 0) * row(n);
        return kArrays * stride(n) * 8 + (choices * static_cast<std::int64_t>(sizeof(Choice)) + 7) / 8 * 8;
    }
    /// Elements from one array to the next: a vector may be read whole behind the last value.
    static QSTEP_HOST_DEVICE std::int64_t stride(std::int64_t n) { return (n + 2 * kPadding - 1) / 8 * 8; }
    /// And of the choices of one layer: the last block is stored whole.
    static QSTEP_HOST_DEVICE std::int64_t row(std::int64_t n) { return (n + kPadding - 1) / 8 * 8; }
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

/// Bounds of a layer's choices from those of the layer before; before: null where they are all 0.
template <typename Index, typename Choice>
struct ChoiceBounds {
    const double *value, *slope;
    const Choice* before;

    QSTEP_HOST_DEVICE Index chosen_before(Index i) const {
        return before == nullptr ? 0 : static_cast<Index>(before[i]);
    }
    /// S0 at m(i,j) to the nearest, of elements that stand for one each; at least i + 1, where v_i = v_j too:
    /// then i is as good as any. Differences of nothing but rounding may give any number.
    QSTEP_HOST_DEVICE Index elements_up_to(Index i, Index j) const {
        // Adding it puts whole numbers into the low bits.
        constexpr double kWhole = 0x1.8p52;
        const double gap = value[j] - value[i], elements = (slope[j] - slope[i]) / (gap > 0 ? gap : 1.0);
        const auto found = static_cast<Index>(
            static_cast<std::int32_t>(std::bit_cast<std::uint64_t>(elements + kWhole) & 0xffffffffu));
        return found > i ? found : i + 1;
    }
    /// A range in which the choices of all positions from `first` to `last` lie. m is bounded outwards.
    QSTEP_HOST_DEVICE IndexRange around(Index first, Index last, int rounds) const {
        Index low = chosen_before(first), high = last;
        for (int round = 0; round < rounds; ++round) {
            const Index from_low = elements_up_to(chosen_before(low), first) - 1,
                        from_high = elements_up_to(chosen_before(high), last);
            low = from_low > low ? from_low : low;
            low = low < first ? low : first;
            high = from_high < high ? from_high : high;
        }
        // Among costs that differ by rounding alone choices need not grow.
        return IndexRange{low < high ? low : high, low < high ? high : low};
    }
};

/// What settling positions of a layer takes. Blocks are counted with 32 bits: a GPU divides 64 by subroutine.
template <typename Index, typename Choice>
struct Layer {
    PointsScratch<Choice> s;
    Index n;
    ChoiceBounds<Index, Choice> bounds;
    Choice* choice;

    /// The number-th of those that are `apart`, or the last there is.
    QSTEP_HOST_DEVICE Index position(Index number, Index apart) const {
        const Index j = (number + 1) * apart - 1;
        return j < n ? j : n - 1;
    }
    QSTEP_HOST_DEVICE Index blocks_of(Index width) const {
        return static_cast<Index>(static_cast<std::uint32_t>(n - 1) / static_cast<std::uint32_t>(width)) + 1;
    }
    QSTEP_HOST_DEVICE Lines lines() const { return {s.cost, s.slope, s.value}; }
    QSTEP_HOST_DEVICE LineTarget target(Index j) const { return {s.value[j], s.slope[j], j}; }
    QSTEP_HOST_DEVICE void settle(Index j, Index i, double cost) const {
        choice[j] = static_cast<Choice>(i);
        s.next[j] = (cost - s.squares[j]) + s.squares[j];
    }
};

/// Settles every step-th position, or only the last, each block of them from its own bounds.
template <bool kAdjacent, typename Group, typename Index, typename Choice>
QSTEP_HOST_DEVICE void settle_alone(Group& group, const Layer<Index, Choice>& layer, Index step, int rounds,
                                    bool last) {
    constexpr auto kBlock = static_cast<Index>(kArgminBlock);
    const Index blocks = layer.blocks_of(kBlock * step), from = last ? blocks - 1 : 0;
    // Where the last block of adjacent ones reaches beyond n there is padding.
    const auto position = [=](Index block, Index lane) {
        const Index number = (from + block) * kBlock + lane;
        return kAdjacent ? number : layer.position(number, step);
    };
    group.for_each_argmin(
        blocks - from, layer.lines(),
        [=](Index block) {
            return layer.bounds.around(position(block, 0),
                                       layer.position((from + block) * kBlock + kBlock - 1, step), rounds);
        },
        [=](Index block, Index lane) { return layer.target(position(block, lane)); },
        [=](Index block, Index lane, Index i, double cost) {
            // Of those that are the last position only the first settles it.
            if (kAdjacent || ((from + block) * kBlock + lane) * step < layer.n)
                layer.settle(position(block, lane), i, cost);
        });
    group.barrier();
}

/// Between two neighbours of those settled, which are kArgminBlock + 1 steps apart, settles the positions
/// that are a step apart: their choices lie between those of the two.
template <bool kAdjacent, typename Group, typename Index, typename Choice>
QSTEP_HOST_DEVICE void settle_between(Group& group, const Layer<Index, Choice>& layer, Index step) {
    constexpr auto kWide = static_cast<Index>(kArgminBlock + 1);
    const auto position = [=](Index block, Index lane) {
        const Index number = block * kWide + lane;
        return kAdjacent ? number : layer.position(number, step);
    };
    group.for_each_argmin(
        layer.blocks_of(kWide * step), layer.lines(),
        [=](Index block) {
            const Index high = static_cast<Index>(layer.choice[layer.position(block, kWide * step)]);
            Index low = block > 0 ? static_cast<Index>(layer.choice[block * kWide * step - 1]) : 0;
            const Index before = layer.bounds.chosen_before(position(block, 0));
            low = before > low ? before : low;
            // Among costs that differ by rounding alone choices need not grow.
            return IndexRange{low < high ? low : high, high};
        },
        [=](Index block, Index lane) { return layer.target(position(block, lane)); },
        [=](Index block, Index lane, Index i, double cost) {
            const Index j = position(block, lane);
            if (j < layer.n - 1) layer.settle(j, i, cost);
        });
    group.barrier();
}

/// One layer: D of this layer at j = min over i of cost[i] + C(i,j) - G_i; `before`: the choices of the layer
/// before, or null. `last`: only D at n - 1.
///
/// Up to kSettledAlone positions are settled from bounds alone; of more every 9th, 81st, ... and then those
/// between. n < 2^27, so that no index that is made of it leaves 32 bits.
template <typename Group, typename Choice>
QSTEP_HOST_DEVICE void points_layer(Group& group, const PointsScratch<Choice>& s, std::int64_t n,
                                    Choice* choice, const Choice* before, int rounds, bool last) {
    using Index = typename Group::Index;
    constexpr auto kWide = static_cast<Index>(kArgminBlock + 1);
    const Layer<Index, Choice> layer{s, static_cast<Index>(n), {s.value, s.slope, before}, choice};
    Index step = 1;
    while (static_cast<Index>(kSettledAlone) * step < layer.n) step *= kWide;
    if (step == 1) return settle_alone<true>(group, layer, step, rounds, last);
    settle_alone<false>(group, layer, step, rounds, last);
    if (last) return;
    for (step /= kWide; step > 1; step /= kWide) settle_between<false>(group, layer, step);
    settle_between<true>(group, layer, step);
}

/// Writes the positions of at most `levels` points, ascending, ends included, to positions[0 .. levels) and
/// returns the cost D (in every thread). n > levels >= 2; value, squares (G) and slope (B) are filled in.
/// weighted: a position may stand for several elements or none.
template <typename Group, typename Choice>
QSTEP_HOST_DEVICE double optimal_points(Group& group, PointsScratch<Choice> s, std::int64_t n,
                                        std::int64_t levels, bool weighted, std::uint32_t* positions) {
    const std::int64_t row = s.row(n);
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
        Choice* choice = s.choice + (layer - 2) * row;
        points_layer(group, s, n, choice, layer > 2 ? choice - row : nullptr, weighted ? 0 : kBoundRounds,
                     layer == levels - 1);
    }
    const double least = s.next[n - 1] - s.squares[n - 1];
    if (group.rank() == 0) {
        auto j = static_cast<Choice>(n - 1);
        positions[levels - 1] = j;
        for (std::int64_t layer = levels - 1; layer >= 2; --layer)
            positions[layer - 1] = j = s.choice[(layer - 2) * row + j];
        positions[0] = 0;
    }
    group.barrier();
    return least;
}

}  // namespace qstep::quant

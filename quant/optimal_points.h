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
// Where to look: quant/point_bounds.h bounds each of the best points, and a layer is worked out between its
// bounds alone. Within it, a choice c of layer t at j is m(i,j) for i = the choice of layer t-1 at c: from
// bounds low <= c <= high follow m(choice of t-1 at low, j) and m(choice of t-1 at high, j); three rounds of
// that leave 6 for each j.
#pragma once

#include <cstdint>

#include "quant/group.h"
#include "quant/point_bounds.h"

namespace qstep::quant {

/// Positions that a layer settles without neighbours, and how often their bounds are tightened.
inline constexpr std::int64_t kSettledAlone = 1024;
inline constexpr int kBoundRounds = 3;

/// Arrays of one fit, cut from a group's scratch memory. Choice: an integer that holds n - 1.
template <typename Choice = std::uint32_t>
struct PointsScratch {
    double* value;              // v - median
    double* squares;            // S2, then G
    double* slope;              // B
    double* cost;               // S1, then D + G of the layer before
    double* next;               // D + G of this layer
    Choice* choice;             // best i of layer t = 1 .. k-1 at j: of_layer(t, n, levels)[j]
    std::uint32_t *low, *high;  // where the best t-th point lies, t = 0 .. k-1

    static constexpr std::int64_t kArrays = 5;
    static constexpr std::int64_t kPadding = 8;

    /// Bytes for n values and `levels` points, a multiple of 8.
    static QSTEP_HOST_DEVICE std::int64_t bytes(std::int64_t n, std::int64_t levels) {
        return (kArrays * stride(n) + levels) * 8 + choice_bytes(n, levels);
    }
    /// Elements from one array or layer to the next: a vector may be read and stored whole behind the last.
    static QSTEP_HOST_DEVICE std::int64_t stride(std::int64_t n) { return (n + 2 * kPadding - 1) / 8 * 8; }
    static QSTEP_HOST_DEVICE PointsScratch at(void* memory, std::int64_t n, std::int64_t levels) {
        auto* base = static_cast<double*>(memory);
        const std::int64_t s = stride(n);
        auto* const bounds = reinterpret_cast<std::uint32_t*>(base + kArrays * s);
        auto* const choices = reinterpret_cast<Choice*>(bounds + 2 * levels);
        return {base, base + s, base + 2 * s, base + 3 * s, base + 4 * s, choices, bounds, bounds + levels};
    }

    /// Of the last layer one place is asked for: it has the row of the first, which is long read by then.
    QSTEP_HOST_DEVICE Choice* of_layer(std::int64_t t, std::int64_t n, std::int64_t levels) const {
        return choice + (t > rows(levels) ? 0 : t - 1) * stride(n);
    }

  private:
    static QSTEP_HOST_DEVICE std::int64_t rows(std::int64_t levels) { return levels > 4 ? levels - 2 : 2; }
    static QSTEP_HOST_DEVICE std::int64_t choice_bytes(std::int64_t n, std::int64_t levels) {
        const auto each = static_cast<std::int64_t>(sizeof(Choice));
        return (rows(levels) * stride(n) * each + 7) / 8 * 8;
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

/// Fills value, squares (G), slope (B) from the sorted sample v(i), whose magnitudes are near 1 at most.
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

/// Bounds of a layer's choices, from those of the point and from the choices of the layer before.
template <typename Index, typename Choice>
struct ChoiceBounds {
    BestPlace<Index> best;
    const Choice* before;
    Index low, high;  // of the point before

    QSTEP_HOST_DEVICE Index chosen_before(Index i) const { return static_cast<Index>(before[i]); }
    /// Choices grow from layer to layer, but at j the layer before may not have been worked out.
    QSTEP_HOST_DEVICE Index lowest_at(Index j) const {
        const Index at_j = chosen_before(j < high ? j : high);
        return at_j > low && j <= high ? at_j : low;
    }
    /// A range in which the choices of all positions from `first` to `last` lie.
    template <int kRounds>
    QSTEP_HOST_DEVICE IndexRange around(Index first, Index last) const {
        Index from = lowest_at(first), to = last < high ? last : high;
        for (int round = 0; round < kRounds; ++round) {
            const Index from_low = best.bound(chosen_before(from), first, false),
                        from_high = best.bound(chosen_before(to), last, true);
            from = from_low > from ? from_low : from;
            to = from_high < to ? from_high : to;
            // Among costs that differ by rounding alone choices need not grow.
            from = from < first ? from : first;
            from = from < high ? from : high;
            to = to > from ? to : from;
        }
        return IndexRange{from, to};
    }
};

/// What settling the `count` positions from `first` on takes, those of one layer. Blocks are counted with 32
/// bits: a GPU divides 64 by subroutine.
template <typename Index, typename Choice>
struct Layer {
    PointsScratch<Choice> s;
    Index first, count;
    ChoiceBounds<Index, Choice> bounds;
    Choice* choice;

    /// The number-th of those that are `apart`, or the last there is.
    QSTEP_HOST_DEVICE Index position(Index number, Index apart) const {
        const Index at = (number + 1) * apart - 1;
        return first + (at < count ? at : count - 1);
    }
    QSTEP_HOST_DEVICE Index blocks_of(Index width) const {
        return static_cast<Index>(static_cast<std::uint32_t>(count - 1) / static_cast<std::uint32_t>(width)) +
               1;
    }
    QSTEP_HOST_DEVICE Lines lines() const { return {s.cost, s.slope, s.value}; }
    QSTEP_HOST_DEVICE LineTarget target(Index j) const { return {s.value[j], s.slope[j], j}; }
    QSTEP_HOST_DEVICE void settle(Index j, Index i, double cost) const {
        choice[j] = static_cast<Choice>(i);
        s.next[j] = (cost - s.squares[j]) + s.squares[j];
    }
};

/// Settles every step-th position, each block of them from its own bounds.
template <int kRounds, bool kAdjacent, typename Group, typename Index, typename Choice>
QSTEP_HOST_DEVICE void settle_alone(Group& group, const Layer<Index, Choice>& layer, Index step) {
    constexpr auto kBlock = static_cast<Index>(kArgminBlock);
    // Where the last block of adjacent ones reaches beyond the last there is padding, or what nobody reads.
    const auto position = [=](Index block, Index lane) {
        const Index number = block * kBlock + lane;
        return kAdjacent ? layer.first + number : layer.position(number, step);
    };
    group.for_each_argmin(
        layer.blocks_of(kBlock * step), layer.lines(),
        [=](Index block) {
            return layer.bounds.template around<kRounds>(position(block, 0),
                                                         layer.position(block * kBlock + kBlock - 1, step));
        },
        [=](Index block, Index lane) { return layer.target(position(block, lane)); },
        [=](Index block, Index lane, Index i, double cost) {
            // Of those that are the last position only the first settles it.
            if (kAdjacent || (block * kBlock + lane) * step < layer.count)
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
        return kAdjacent ? layer.first + number : layer.position(number, step);
    };
    group.for_each_argmin(
        layer.blocks_of(kWide * step), layer.lines(),
        [=](Index block) {
            const auto high = static_cast<Index>(layer.choice[layer.position(block, kWide * step)]);
            Index low = layer.bounds.lowest_at(position(block, 0));
            if (block > 0) {
                const auto left = static_cast<Index>(layer.choice[layer.position(block - 1, kWide * step)]);
                low = left > low ? left : low;
            }
            // Among costs that differ by rounding alone choices need not grow.
            return IndexRange{low < high ? low : high, high};
        },
        [=](Index block, Index lane) { return layer.target(position(block, lane)); },
        [=](Index block, Index lane, Index i, double cost) {
            const Index j = position(block, lane);
            if (j < layer.first + layer.count - 1) layer.settle(j, i, cost);
        });
    group.barrier();
}

/// One layer: D of this layer at j = min over i of cost[i] + C(i,j) - G_i.
///
/// Up to kSettledAlone positions are settled from bounds alone; of more every 9th, 81st, ... and then those
/// between. Positions < 2^27, so that no index that is made of one leaves 32 bits.
template <int kRounds, typename Group, typename Index, typename Choice>
QSTEP_HOST_DEVICE void points_layer(Group& group, const Layer<Index, Choice>& layer) {
    constexpr auto kWide = static_cast<Index>(kArgminBlock + 1);
    Index step = 1;
    while (static_cast<Index>(kSettledAlone) * step < layer.count) step *= kWide;
    if (step == 1) return settle_alone<kRounds, true>(group, layer, step);
    settle_alone<kRounds, false>(group, layer, step);
    for (step /= kWide; step > 1; step /= kWide) settle_between<false>(group, layer, step);
    settle_between<true>(group, layer, step);
}

/// Writes the positions of at most `levels` points, ascending, ends included, to positions[0 .. levels) and
/// returns the cost D (in every thread). n > levels >= 2; value, squares (G) and slope (B) are filled in.
/// kWeighted: a position may stand for several elements or none, so that S0 does not tell where it is.
template <bool kWeighted, typename Group, typename Choice>
QSTEP_HOST_DEVICE double optimal_points(Group& group, PointsScratch<Choice> s, std::int64_t n,
                                        std::int64_t levels, std::uint32_t* positions) {
    using Index = typename Group::Index;
    const BestPlace<Index> best(s.value, s.slope, n);
    bracket_points(group, s, best, n, levels, kWeighted || levels > kMostBracketed ? 0 : kBracketSweeps);
    const double first_value = s.value[0], first_slope = s.slope[0], first_squares = s.squares[0];
    const std::int64_t first = s.low[1];
    Choice* const first_choice = s.of_layer(1, n, levels);
    group.for_each(s.high[1] - first + 1, [=](std::int64_t item) {
        const std::int64_t j = first + item;
        const double least =
            first_squares - s.squares[j] + (s.value[j] * first_slope - first_value * s.slope[j]);
        s.next[j] = least + s.squares[j];
        first_choice[j] = 0;
    });
    group.barrier();
    const auto index = [](std::uint32_t position) { return static_cast<Index>(position); };
    for (std::int64_t t = 2; t < levels; ++t) {
        double* const before = s.next;
        s.next = s.cost;
        s.cost = before;
        const ChoiceBounds<Index, Choice> bounds{best, s.of_layer(t - 1, n, levels), index(s.low[t - 1]),
                                                 index(s.high[t - 1])};
        const Layer<Index, Choice> layer{s, index(s.low[t]), index(s.high[t] - s.low[t] + 1), bounds,
                                         s.of_layer(t, n, levels)};
        points_layer<kWeighted ? 0 : kBoundRounds>(group, layer);
    }
    const double least = s.next[n - 1] - s.squares[n - 1];
    if (group.rank() == 0) {
        auto j = static_cast<Choice>(n - 1);
        positions[levels - 1] = j;
        for (std::int64_t t = levels - 1; t >= 2; --t) positions[t - 1] = j = s.of_layer(t, n, levels)[j];
        positions[0] = 0;
    }
    group.barrier();
    return least;
}

}  // namespace qstep::quant

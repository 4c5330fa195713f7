// The `histogram` solver of `smart`: points from a histogram of the whole bucket, at a cost that hardly grows
// with it (after the approximate solver of Ben Basat, Ben-Itzhak, Mitzenmacher, Vargaftik: "Optimal and
// near-optimal adaptive vector quantization", 2024, which rounds to a grid and solves the weighted problem).
//
// Every element is counted at the nearest multiple of h, of which at most kCells + 1 lie between the bucket's
// min and max: 0 is one of them, because gradients have many zeros. (Counting in floats, 2^-11 h decide.) Of
// these grid points some are picked as candidates, min and max included, densely where many elements lie:
// each has the weight 1 + 2 floor(log2(1 + its count)), or 128 more with a 32nd of all elements, neighbouring
// candidates enclose equal weights, and each is moved down to a grid point that has elements. The dynamic
// program of quant/optimal_points.h, with counts for weights, chooses the k best. Then each inner point in
// turn moves to the grid point where it costs least between its neighbours l and r, the first with N >=
//   (r N_r - S_r - l N_l + S_l) / (r - l),   N, S = number and sum of the elements up to a grid point.
//
// How good: let points Q cost V(Q) = sum of (x-l)(r-x) and w(x) = r - l be the gap around x. (x-l)(r-x) has
// slopes of at most w(x), and counting moves x by hardly more than h/2. Rounding x to its two
// candidates without bias first and to Q then costs as much as rounding it to candidates Q at once; for an
// optimal Q that are none, it costs more only where an inner point q lies between the two, d apart: there at
// most d (r-l) / 4 for each of the m elements between them. Moving points lowers what the counted elements
// cost. So, against the optimum V*,
//   V <= V* + h/2 sum over x of (w*(x) + w(x)) + 1/4 sum over q of m(q) d(q) (r*-l*).
// On gradients of ResNet-20 it is far less: V is 0.1 to 1 % above V* (bucket 51200, 16 levels).
//
// Counts, sums and squares are whole numbers and exact in double for up to 2^27 elements, so the order in
// which elements are counted does not matter: the points are the same bits on every device.
#pragma once

#include "quant/smart.h"

namespace qstep::quant {

struct SmartHistogram : Smart {
    static constexpr std::int64_t kCells = 2048;
    /// Holds a candidate's number.
    using Choice = std::uint8_t;
    static constexpr std::int64_t kMostCandidates = 256, kLeastCandidates = 96;
    /// How often all inner points move.
    static constexpr int kMoves = 4;

    static QSTEP_HOST_DEVICE std::int64_t candidates_of(std::int64_t levels) {
        constexpr std::int64_t kPerLevel = 6;
        const std::int64_t wanted = kPerLevel * levels;
        return wanted < kLeastCandidates  ? kLeastCandidates
               : wanted > kMostCandidates ? kMostCandidates
                                          : wanted;
    }

    /// Grid points that one thread walks along.
    static constexpr std::int64_t kStretch = 64;
    static constexpr std::int64_t kStretches = kCells / kStretch + 1;

    /// What candidates are picked by: weights of grid points. Of more than a 32nd of all elements: it must
    /// not lie between two candidates.
    struct Weights {
        static constexpr std::uint64_t kShare = 32, kHeavy = 128;
        std::uint64_t heavy;

        QSTEP_HOST_DEVICE explicit Weights(std::int64_t n) : heavy(static_cast<std::uint64_t>(n) / kShare) {}
        QSTEP_HOST_DEVICE std::uint64_t of(std::uint64_t elements) const {
            // The exponent of a double.
            const std::uint64_t log =
                (std::bit_cast<std::uint64_t>(static_cast<double>(elements + 1)) >> 52) - 1023;
            return 1 + 2 * log + (elements > heavy ? kHeavy : 0);
        }
    };

    /// Sums over grid points up to some point of it.
    struct Moments {
        std::uint64_t weight, count, sum, squares;

        QSTEP_HOST_DEVICE void add(std::uint64_t cell, std::uint64_t elements, const Weights& weights) {
            weight += weights.of(elements);
            count += elements;
            sum += elements * cell;
            squares += elements * cell * cell;
        }
        QSTEP_HOST_DEVICE void add(const Moments& other) {
            weight += other.weight;
            count += other.count;
            sum += other.sum;
            squares += other.squares;
        }
    };

    /// Memory of one fit.
    struct Scratch {
        PointsScratch<Choice> points;
        Moments* stretch;       // before each stretch
        std::uint32_t* counts;  // of each cell, then N
        std::uint64_t* sums;    // S, partly where the group needs memory to count
        std::uint32_t* candidate;

        static constexpr std::int64_t kCounts = (kCells + 2) / 2 * 2;

        static QSTEP_HOST_DEVICE Scratch at(void* memory, std::int64_t levels) {
            const std::int64_t candidates = candidates_of(levels);
            auto* base = static_cast<char*>(memory);
            auto* stretch =
                reinterpret_cast<Moments*>(base + PointsScratch<Choice>::bytes(candidates, levels));
            auto* counts = reinterpret_cast<std::uint32_t*>(stretch + kStretches + 1);
            auto* sums = reinterpret_cast<std::uint64_t*>(counts + kCounts);
            return {PointsScratch<Choice>::at(memory, candidates, levels), stretch, counts, sums,
                    reinterpret_cast<std::uint32_t*>(sums + kCells + 1)};
        }
        /// The cheapest cell for a point between others at l <= r.
        QSTEP_HOST_DEVICE std::uint32_t between(std::uint32_t l, std::uint32_t r) const {
            const std::uint64_t gap = r - l;
            const std::uint64_t wanted =
                (r * std::uint64_t{counts[r]} - sums[r]) - (l * std::uint64_t{counts[l]} - sums[l]);
            std::uint32_t at = l;
            for (auto step = static_cast<std::uint32_t>(kCells / 2); step > 0; step /= 2) {
                const std::uint32_t behind = at + step, probe = behind <= r ? behind - 1 : r;
                at = counts[probe] * gap < wanted ? behind : at;
            }
            return at;
        }
    };
    static std::int64_t scratch_bytes(std::int64_t levels) {
        return PointsScratch<Choice>::bytes(candidates_of(levels), levels) +
               (kStretches + 1) * static_cast<std::int64_t>(sizeof(Moments)) + Scratch::kCounts * 4 +
               (kCells + 1) * 8 + candidates_of(levels) * 4;
    }

    /// Points of the bucket x[0..n), whose range is `extent`.
    template <typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit, const Extent& extent, const float* x,
                                      std::int64_t n, const FitContext& context) {
        if (!extent.finite || extent.low == extent.high) {
            write_points(group, fit, 1, [=](std::int64_t) { return extent.low; });
            if (group.rank() == 0) fit.finite = extent.finite;
            return;
        }
        const auto s = Scratch::at(context.scratch, context.parameters.levels);
        const Grid grid(extent);
        group.count(s.counts, kCells + 1, n, [=](std::int64_t i) { return grid.cell_of(x[i]); });
        const Weights weights(n);
        sum_stretches(group, s, grid, weights);
        const std::int64_t levels = context.parameters.levels, candidates = candidates_of(levels);
        pick_candidates(group, s, grid, weights, static_cast<std::uint64_t>(candidates - 1));
        // The program's arrays are not needed any more when the positions are.
        auto *const positions = reinterpret_cast<std::uint32_t*>(s.points.value),
                    *const cells = reinterpret_cast<std::uint32_t*>(s.points.slope);
        if (levels < candidates) optimal_points<true>(group, s.points, candidates, levels, positions);
        group.for_each(
            levels, [=](std::int64_t i) { cells[i] = s.candidate[levels < candidates ? positions[i] : i]; });
        group.barrier();
        move_points(group, s, cells, levels);
        write_points(group, fit, levels, [=](std::int64_t i) { return grid.value_of(cells[i], extent); });
    }

  private:
    /// The multiples of h, numbered from the one nearest to min.
    struct Grid {
        double step, first;  // h, the number of min's as a multiple of h
        float shrink, low, inverse,
            half;          // to a scale near 1; there: min, 1/h; 1/2 and what min is above its point
        std::int32_t top;  // number of the one nearest to max

        QSTEP_HOST_DEVICE explicit Grid(const Extent& extent) {
            // Doubles of this size are whole numbers, so adding it rounds to the nearest. Elements are at
            // most 2^24 ranges away from 0.
            constexpr double kWhole = 0x1.8p52;
            constexpr auto kSteps = static_cast<double>(kCells - 1);
            step = (static_cast<double>(extent.high) - extent.low) / kSteps;
            const double position = extent.low / step;
            first = (position + kWhole) - kWhole;
            const PowerOfTwo scale = power_of(larger(-extent.low, extent.high));
            shrink = scale.inverse;
            low = extent.low * shrink;
            inverse = static_cast<float>(scale.power / step);
            half = static_cast<float>(position - first + 0.5);
            top = cell_of(extent.high);
        }
        QSTEP_HOST_DEVICE std::int32_t cell_of(float x) const {
            return static_cast<std::int32_t>((x * shrink - low) * inverse + half);
        }
        QSTEP_HOST_DEVICE float value_of(std::uint32_t cell, const Extent& extent) const {
            const auto inner = static_cast<float>((first + cell) * step);
            return cell == 0 ? extent.low : cell == static_cast<std::uint32_t>(top) ? extent.high : inner;
        }
        QSTEP_HOST_DEVICE std::int64_t end_of(std::int64_t stretch) const {
            const std::int64_t end = (stretch + 1) * kStretch;
            return end <= top ? end : top + 1;
        }
    };

    /// stretch[b] = the sums over all grid points before stretch b.
    template <typename Group>
    static QSTEP_HOST_DEVICE void sum_stretches(Group& group, const Scratch& s, const Grid& grid,
                                                const Weights& weights) {
        group.for_each(kStretches, [=](std::int64_t b) {
            Moments total{};
            for (std::int64_t cell = b * kStretch; cell < grid.end_of(b); ++cell)
                total.add(static_cast<std::uint64_t>(cell), s.counts[cell], weights);
            s.stretch[b + 1] = total;
        });
        group.barrier();
        if (group.rank() == 0) {
            s.stretch[0] = {};
            for (std::int64_t b = 0; b < kStretches; ++b) s.stretch[b + 1].add(s.stretch[b]);
        }
        group.barrier();
    }

    /// Candidate m is the last grid point with elements among those up to which lie at most m / last of all
    /// weights, if its stretch has one. Nothing lies between it and where that share is reached. Turns counts
    /// into N and fills S.
    template <typename Group>
    static QSTEP_HOST_DEVICE void pick_candidates(Group& group, const Scratch& s, const Grid& grid,
                                                  const Weights& weights, std::uint64_t last) {
        group.for_each(kStretches, [=](std::int64_t b) {
            const std::uint64_t total = s.stretch[kStretches].weight;
            Moments up_to = s.stretch[b];
            std::uint64_t m = b == 0 ? 0 : up_to.weight * last / total + 1, next = m * total;
            std::int64_t taken = -1;
            for (std::int64_t cell = b * kStretch; cell < grid.end_of(b); ++cell) {
                const std::uint32_t elements = s.counts[cell];
                up_to.add(static_cast<std::uint64_t>(cell), elements, weights);
                taken = elements > 0 ? cell : taken;
                s.counts[cell] = static_cast<std::uint32_t>(up_to.count);
                s.sums[cell] = up_to.sum;
                for (; m < last && up_to.weight * last >= next; ++m, next += total)
                    put_candidate(s, m, taken >= 0 ? taken : cell, up_to);
                if (cell == grid.top) put_candidate(s, last, cell, up_to);
            }
        });
        group.barrier();
    }

    /// Moves the inner of the points at these cells, those with odd numbers and then those with even ones.
    template <typename Group>
    static QSTEP_HOST_DEVICE void move_points(Group& group, const Scratch& s, std::uint32_t* cells,
                                              std::int64_t levels) {
        for (int move = 0; move < kMoves; ++move)
            for (std::int64_t first = 1; first <= 2; ++first) {
                group.for_each((levels - first) / 2, [=](std::int64_t i) {
                    std::uint32_t* const point = cells + first + 2 * i;
                    *point = s.between(point[-1], point[1]);
                });
                group.barrier();
            }
    }

    /// A candidate's entries in the arrays of the dynamic program, from the sums up to it.
    static QSTEP_HOST_DEVICE void put_candidate(const Scratch& s, std::uint64_t m, std::int64_t cell,
                                                const Moments& up_to) {
        // Relative to the middle, where products of sums are smallest.
        constexpr std::int64_t kMiddle = kCells / 2;
        const auto v = static_cast<double>(cell - kMiddle), count = static_cast<double>(up_to.count);
        const auto raw_sum = static_cast<double>(up_to.sum);
        const double sum = raw_sum - count * kMiddle;
        const double squares =
            static_cast<double>(up_to.squares) - raw_sum * (2 * kMiddle) + count * (kMiddle * kMiddle);
        s.candidate[m] = static_cast<std::uint32_t>(cell);
        s.points.value[m] = v;
        s.points.slope[m] = v * count - sum;
        s.points.squares[m] = squares - v * sum;
    }
};

}  // namespace qstep::quant

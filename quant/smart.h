// `smart`: k levels placed where the bucket's elements lie, so that the variance is least.
//
// Solver `sample`: max(p n, 512) candidates, or the whole bucket if that is shorter, are drawn without
// replacement (quant/sampling.h) and sorted; the bucket's min and max join them; quant/optimal_points.h
// chooses k of these values, min and max included, that minimise the candidates' sum of (x-l)(r-x). `exact`:
// all elements are candidates, so no k values have less variance. (`histogram` is quant/histogram.h.) Every
// element of the
// bucket is then rounded to one of its two neighbours, r with probability (x-l)/(r-l); an element equal to a
// point stays. A bucket with at most k distinct candidates has just these as its points.
//
// Rounding is done in floats, scaled by a power of two that brings the bucket's largest magnitude near 1: r
// if (x-l) + (r-l) U >= r-l. Its three roundings put the expected value off by at most 2^-22 (r-l), and
// between points closer than 2^-100 of that magnitude more is rounded to l.
#pragma once

#include <utility>

#include "engine/error.h"
#include "quant/algorithm.h"
#include "quant/codec.h"
#include "quant/optimal_points.h"
#include "quant/sampling.h"

namespace qstep::quant {

/// A fit may take this much memory, 8 million candidates for 64 levels or 40 million for 4.
inline constexpr std::int64_t kMostSmartScratch = std::int64_t{1} << 31;

/// Usage error, one sentence, where a fit of this many candidates would take more.
inline void check_smart_scratch(std::int64_t bytes, std::int64_t candidates, const CodecSettings& settings) {
    if (bytes > kMostSmartScratch)
        fail_usage(
            "smart would look at {} candidates for {} levels, which takes {:.1f} GiB; lower --levels, "
            "--bucket-size or --smart-candidates, or take --solver histogram",
            candidates, settings.levels, static_cast<double>(bytes) / (1 << 30));
}

struct Smart {
    static constexpr std::int64_t kMaxLevels = 256;
    static constexpr std::int64_t kFewLevels = 16;
    static constexpr std::int64_t kMinCandidates = 512;
    /// Scaled: what a gap counts as at least, so that an element equal to a point stays where points that
    /// differ have become equal.
    static constexpr float kLeastGap = 0x1p-100f;
    static constexpr const char* kRemedy =
        "a smaller --bucket-size, fewer --levels or --smart-candidates, or --solver histogram needs less";

    using Measure = Extent;

    struct Fit {
        std::int64_t count;
        bool finite;
        /// Of the largest magnitude.
        PowerOfTwo scale;
        /// Ascending; entries behind the last point repeat it.
        float points[kMaxLevels + 1];
        /// The points, then infinities: what a binary search for the left neighbour runs over.
        float search[kMaxLevels];
    };

    static std::int64_t candidate_count(std::int64_t n, double percent) {
        const auto share = static_cast<std::int64_t>(static_cast<double>(n) * percent / 100.0);
        const std::int64_t wanted = share > kMinCandidates ? share : kMinCandidates;
        return wanted < n ? wanted : n;
    }
    static std::int64_t all_elements(std::int64_t n, double) { return n; }
    /// How many candidates `sample` or `exact` takes from n elements, given the percentage.
    static auto candidates_of(Solver solver) {
        return solver == Solver::exact ? all_elements : candidate_count;
    }
    /// Scratch of one fit: the dynamic program's arrays and the keys.
    template <typename Choice = std::uint32_t>
    static std::int64_t scratch_bytes(std::int64_t candidates, std::int64_t levels) {
        return PointsScratch<Choice>::bytes(candidates + 2, levels) + (candidates + 2) * 4;
    }

    static QSTEP_HOST_DEVICE Measure merge_measures(const Measure& a, const Measure& b) {
        return merge(a, b);
    }

    template <typename Group>
    static QSTEP_HOST_DEVICE Measure measure(Group& group, const float* x, std::int64_t n) {
        return group.extent(n, [=](std::int64_t i) { return x[i]; });
    }

    /// Unsigned integers in the order of the floats, -0 as +0.
    static QSTEP_HOST_DEVICE std::uint32_t key_of(float x) {
        const auto bits = std::bit_cast<std::uint32_t>(x + 0.0f);
        return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    }
    static QSTEP_HOST_DEVICE float value_of(std::uint32_t key) {
        return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key);
    }

    /// Points of the bucket x[0..n), whose range is `extent`.
    template <typename Choice = std::uint32_t, typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit, const Extent& extent, const float* x,
                                      std::int64_t n, const FitContext& context) {
        if (!extent.finite) {
            if (group.rank() == 0) fit.finite = false;
            return;
        }
        const std::int64_t candidates = context.candidates, count = candidates + 2;
        auto* base = static_cast<char*>(context.scratch);
        // The dynamic program's arrays are not needed while the keys are sorted.
        auto* spare = reinterpret_cast<std::uint32_t*>(base);
        auto* keys = reinterpret_cast<std::uint32_t*>(
            base + PointsScratch<Choice>::bytes(count, context.parameters.levels));
        std::uint32_t* inner = keys + 1;
        if (candidates == n) {
            group.for_each(n, [=](std::int64_t i) { inner[i] = key_of(x[i]); });
        } else {
            const Permutation permutation(context.seed, context.step,
                                          static_cast<std::uint64_t>(context.bucket),
                                          static_cast<std::uint64_t>(n));
            group.for_each(candidates, [=](std::int64_t i) {
                inner[i] = key_of(x[permutation(static_cast<std::uint64_t>(i))]);
            });
        }
        if (group.rank() == 0) {
            keys[0] = key_of(extent.low);
            keys[count - 1] = key_of(extent.high);
        }
        group.sort(inner, spare, candidates);
        // A whole bucket has its min and max among the candidates.
        const bool whole = candidates == n;
        place<Choice>(group, fit, whole ? inner : keys, whole ? n : count, context.parameters.levels, base);
    }

    /// Points for the sorted keys; scratch: scratch_bytes(count - 2, levels), of which the keys may be the
    /// end.
    template <typename Choice = std::uint32_t, typename Group>
    static QSTEP_HOST_DEVICE void place(Group& group, Fit& fit, const std::uint32_t* keys, std::int64_t count,
                                        std::int64_t levels, char* scratch) {
        const double changes =
            group.sum(count - 1, [=](std::int64_t i) { return keys[i] != keys[i + 1] ? 1.0 : 0.0; });
        if (changes + 1 <= static_cast<double>(levels)) {
            write_points(group, fit, count, [=](std::int64_t i) { return value_of(keys[i]); });
            return;
        }
        const auto arrays = PointsScratch<Choice>::at(scratch, count, levels);
        // The values are not needed any more when the positions are.
        auto* positions = reinterpret_cast<std::uint32_t*>(arrays.value);
        const auto scale =
            static_cast<double>(power_of(larger(-value_of(keys[0]), value_of(keys[count - 1]))).inverse);
        prepare_costs(group, arrays, count, [=](std::int64_t i) { return value_of(keys[i]) * scale; });
        optimal_points<false>(group, arrays, count, levels, positions);
        write_points(group, fit, levels, [=](std::int64_t i) { return value_of(keys[positions[i]]); });
    }

    /// Drops repetitions of the ascending value(0 .. count) and lays out the tables.
    template <typename Group, typename F>
    static QSTEP_HOST_DEVICE void write_points(Group& group, Fit& fit, std::int64_t count, F value) {
        if (group.rank() == 0) {
            float last = value(0);
            fit.points[0] = last;
            std::int64_t kept = 1;
            for (std::int64_t i = 1; i < count; ++i) {
                const float x = value(i);
                if (x != last) fit.points[kept++] = last = x;
            }
            fit.count = kept;
            fit.finite = true;
            fit.scale = power_of(larger(-fit.points[0], last));
        }
        group.barrier();
        const std::int64_t kept = fit.count;
        const float last = fit.points[kept - 1];
        float *const points = fit.points, *const search = fit.search;
        group.for_each(kMaxLevels, [=](std::int64_t i) {
            search[i] = i < kept ? points[i] : std::numeric_limits<float>::infinity();
        });
        group.for_each(kMaxLevels + 1 - kept, [=](std::int64_t i) { points[kept + i] = last; });
    }

    struct Point {
        float value;
        std::uint32_t index;
    };

    template <typename F>
    static QSTEP_HOST_DEVICE double with_rounder(const Fit& fit, F f) {
        return fit.count <= kFewLevels ? f(Rounder<FewPoints>(fit)) : f(Rounder<ManyPoints>(fit));
    }
    static QSTEP_HOST_DEVICE bool vanishes(const Fit&) { return false; }

    class Decoder {
      public:
        using Code = Point;

        QSTEP_HOST_DEVICE explicit Decoder(const Fit& fit) : points_(fit.points) {}
        QSTEP_HOST_DEVICE Decoder(const std::uint32_t* words, const Parameters&)
            : points_(reinterpret_cast<const float*>(words)) {}

        static QSTEP_HOST_DEVICE float value(const Code& code) { return code.value; }
        static QSTEP_HOST_DEVICE std::uint32_t index(const Code& code) { return code.index; }
        QSTEP_HOST_DEVICE Code code(std::uint32_t index) const { return {points_[index], index}; }

      private:
        const float* points_;
    };

    /// The points; a bucket that needs fewer repeats the last.
    static QSTEP_HOST_DEVICE std::int64_t header_words(const Parameters& parameters) {
        return parameters.levels;
    }
    static QSTEP_HOST_DEVICE std::uint32_t header_word(const Fit& fit, std::int64_t i) {
        return std::bit_cast<std::uint32_t>(fit.points[i]);
    }
    static constexpr std::uint32_t kNanIndex = 0;

  private:
    /// The points around an element, and the left one's number.
    struct Neighbours {
        float left, right;
        std::int32_t at;
    };

    /// Few points: each that is reached, but the first, replaces the neighbours found so far.
    struct FewPoints {
        float search[kFewLevels], points[kFewLevels + 1];

        QSTEP_HOST_DEVICE explicit FewPoints(const Fit& fit) {
            for (int j = 0; j < kFewLevels; ++j) search[j] = fit.search[j];
            for (int j = 0; j <= kFewLevels; ++j) points[j] = fit.points[j];
        }
        QSTEP_HOST_DEVICE Neighbours around(float x) const {
            return replaced(x, std::make_integer_sequence<int, kFewLevels - 1>{});
        }

      private:
        template <int... Inner>
        QSTEP_HOST_DEVICE Neighbours replaced(float x, std::integer_sequence<int, Inner...>) const {
            Neighbours found{points[0], points[1], 0};
            (replace<Inner + 1>(x, found), ...);
            return found;
        }
        template <int J>
        QSTEP_HOST_DEVICE void replace(float x, Neighbours& found) const {
            const bool reached = search[J] <= x;
            found.left = reached ? points[J] : found.left;
            found.right = reached ? points[J + 1] : found.right;
            found.at = reached ? J : found.at;
        }
    };

    /// Many: a binary search without branches or loops.
    struct ManyPoints {
        const float *search, *points;

        QSTEP_HOST_DEVICE explicit ManyPoints(const Fit& fit) : search(fit.search), points(fit.points) {}
        QSTEP_HOST_DEVICE Neighbours around(float x) const {
            const std::int32_t at = find<kMaxLevels / 2>(x, 0);
            return {points[at], points[at + 1], at};
        }

      private:
        template <std::int32_t Step>
        QSTEP_HOST_DEVICE std::int32_t find(float x, std::int32_t at) const {
            at += Step * static_cast<std::int32_t>(search[at + Step] <= x);
            if constexpr (Step > 1) return find<Step / 2>(x, at);
            return at;
        }
    };

    template <typename Points>
    class Rounder {
      public:
        QSTEP_HOST_DEVICE explicit Rounder(const Fit& fit) : points_(fit), scale_(fit.scale) {}

        QSTEP_HOST_DEVICE float operator()(float x, std::uint32_t word, Point& code) const {
            const Neighbours near = points_.around(x);
            const float left = near.left * scale_.inverse, right = near.right * scale_.inverse;
            const float value = x * scale_.inverse, offset = value - left;
            const float gap = larger(right - left, kLeastGap);
            const bool up = offset + gap * uniform_from_bits(word) >= gap;
            code = {up ? near.right : near.left, static_cast<std::uint32_t>(near.at + up)};
            return offset * (right - value);
        }
        QSTEP_HOST_DEVICE double scale() const { return static_cast<double>(scale_.power) * scale_.power; }

      private:
        Points points_;
        PowerOfTwo scale_;
    };
};

}  // namespace qstep::quant

// The Group (quant/group.h) of the CPU: one thread whose loops over elements are vectorised. Nothing here
// names an instruction set: quant/cpu/isa.h compiles the callers for several.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "quant/group.h"

namespace qstep::quant::cpu {

/// One round of Philox4x32 on counter c; the loop of philox4x32_10 unrolled by hand, because a loop inside
/// keeps compilers from vectorising the loop around it.
inline void philox_round(std::uint32_t (&c)[4], std::uint32_t k0, std::uint32_t k1) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0], p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c[0] = static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<std::uint32_t>(p1);
    c[2] = static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<std::uint32_t>(p0);
}

template <std::uint32_t... Round>
inline void philox_rounds(std::uint32_t (&c)[4], std::uint32_t k0, std::uint32_t k1,
                          std::integer_sequence<std::uint32_t, Round...>) {
    (philox_round(c, k0 + Round * 0x9E3779B9u, k1 + Round * 0xBB67AE85u), ...);
}

/// Words of Philox blocks block0 .. block0 + 15, that is of 64 consecutive elements, as stream.block() gives
/// them. block0: a multiple of 16.
inline void philox_64_words(std::uint32_t* __restrict words, const RandomStream& stream,
                            std::uint64_t block0) {
    const auto high = static_cast<std::uint32_t>(block0 >> 32), low = static_cast<std::uint32_t>(block0);
    const auto purpose = static_cast<std::uint32_t>(stream.purpose), step = stream.step;
    const auto k0 = static_cast<std::uint32_t>(stream.seed),
               k1 = static_cast<std::uint32_t>(stream.seed >> 32);
#pragma omp simd
    for (int lane = 0; lane < 16; ++lane) {
        std::uint32_t c[4] = {low + static_cast<std::uint32_t>(lane), high, step, purpose};
        philox_rounds(c, k0, k1, std::make_integer_sequence<std::uint32_t, 10>{});
        words[4 * lane] = c[0];
        words[4 * lane + 1] = c[1];
        words[4 * lane + 2] = c[2];
        words[4 * lane + 3] = c[3];
    }
}

class SimdGroup {
  public:
    static constexpr std::int64_t rank() { return 0; }
    static constexpr std::int64_t size() { return 1; }
    static void barrier() {}

    template <typename F>
    static void for_each(std::int64_t n, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) f(i);
    }

    template <typename F>
    static Extent extent(std::int64_t n, F f) {
        float low = std::numeric_limits<float>::infinity(), high = -low;
        std::uint32_t largest = 0;
#pragma omp simd reduction(min : low) reduction(max : high, largest)
        for (std::int64_t i = 0; i < n; ++i) {
            const float x = f(i);
            const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x) & 0x7fffffffu;
            low = x < low ? x : low;
            high = x > high ? x : high;
            largest = magnitude > largest ? magnitude : largest;
        }
        // + 0 turns -0 into +0: which zero wins depends on the order.
        return {low + 0.0f, high + 0.0f, largest < 0x7f800000u};
    }

    template <typename F>
    static double sum(std::int64_t n, F f) {
        alignas(64) double lanes[kSumLanes] = {};
        for (std::int64_t base = 0; base < n; base += kSumLanes)
            add_to_lanes(lanes, std::min(kSumLanes, n - base), [=](std::int64_t i) { return f(base + i); });
        return fold(lanes, n);
    }

    template <typename F>
    static double sum(std::int64_t n, const Draws& draws, F f) {
        alignas(64) double lanes[kSumLanes] = {};
        alignas(64) std::uint32_t words[kDrawTile + 2 * kBatch];
        if (draws.nearest) std::fill(words, words + kDrawTile, Draws::kHalf);
        for (std::int64_t tile = 0; tile < n; tile += kDrawTile) {
            const std::int64_t tile_size = std::min(kDrawTile, n - tile);
            const std::uint32_t* word = words;
            if (!draws.nearest) {
                const std::uint64_t first = draws.first + static_cast<std::uint64_t>(tile);
                const auto skip = static_cast<std::int64_t>(first % kBatch);
                for (std::int64_t i = 0; i < skip + tile_size; i += kBatch)
                    philox_64_words(words + i, draws.stream, (first / kBatch * kBatch + i) / 4);
                word += skip;
            }
            for (std::int64_t base = 0; base < tile_size; base += kSumLanes)
                add_to_lanes(lanes, std::min(kSumLanes, tile_size - base),
                             [=](std::int64_t i) { return f(tile + base + i, word[base + i]); });
        }
        return fold(lanes, n);
    }

    template <typename F>
    static void for_each_sign(std::int64_t n, const Signs& signs, F f) {
        alignas(64) std::uint32_t words[64], sign[Signs::kRun];
        constexpr auto run = static_cast<std::int64_t>(Signs::kRun),
                       per_word = static_cast<std::int64_t>(Signs::kWords);
        const auto skip = static_cast<std::int64_t>(signs.first % Signs::kRun);
        // Four runs share a batch of 64 words.
        std::uint64_t batch = ~std::uint64_t{0};
        for (std::int64_t begin = -skip; begin < n; begin += run) {
            const std::uint64_t index = (signs.first + static_cast<std::uint64_t>(begin)) / Signs::kRun;
            if (index / 4 != batch) philox_64_words(words, signs.stream, (batch = index / 4) * 16);
            const std::uint32_t* own = words + index % 4 * Signs::kWords;
            for (std::int64_t bit = 0; bit < 32; ++bit) {
#pragma omp simd
                for (std::int64_t j = 0; j < per_word; ++j) sign[bit * per_word + j] = own[j] >> bit << 31;
            }
            const std::int64_t end = std::min(run, n - begin);
#pragma omp simd
            for (std::int64_t i = std::max<std::int64_t>(0, -begin); i < end; ++i) f(begin + i, sign[i]);
        }
    }

    static void walsh_hadamard(float* x, std::int64_t n, std::int64_t from) {
        if (from > 1 || n < 8) return stages(x, n, from);
        for (std::int64_t i = 0; i < n; i += 8) first_three_stages(x + i);
        stages(x, n, 8);
    }

    /// Radix sort by bytes from the lowest; bytes that all keys share are skipped.
    static void sort(std::uint32_t* keys, std::uint32_t* spare, std::int64_t n) {
        std::int64_t places[4][256] = {};
        for (std::int64_t i = 0; i < n; ++i)
            for (int digit = 0; digit < 4; ++digit) ++places[digit][keys[i] >> (8 * digit) & 255u];
        std::uint32_t *from = keys, *to = spare;
        for (int digit = 0; digit < 4; ++digit) {
            std::int64_t* place = places[digit];
            if (place[keys[0] >> (8 * digit) & 255u] == n) continue;
            std::int64_t total = 0;
            for (int value = 0; value < 256; ++value) {
                const std::int64_t count = place[value];
                place[value] = total;
                total += count;
            }
            for (std::int64_t i = 0; i < n; ++i) to[place[from[i] >> (8 * digit) & 255u]++] = from[i];
            std::swap(from, to);
        }
        if (from != keys) std::copy(from, from + n, keys);
    }

    template <typename Range, typename Cost, typename Store>
    static void for_each_argmin(std::int64_t items, Range range, Cost cost, Store store) {
        for (std::int64_t item = 0; item < items; ++item) {
            const auto bounds = range(item);
            const std::int64_t low = bounds.low, high = bounds.high;
            if (high - low < kFew) {
                // Most ranges are this short; a fixed number of costs spares the branches.
                double best = cost(item, low);
                std::int64_t index = low;
                for (std::int64_t l = 1; l < kFew; ++l) {
                    const double value = cost(item, low + l);
                    const bool better = (value < best) & (low + l <= high);
                    best = better ? value : best;
                    index = better ? low + l : index;
                }
                store(item, index, best);
                continue;
            }
            double best[kArgminPadding];
            std::int64_t index[kArgminPadding];
#pragma omp simd
            for (std::int64_t l = 0; l < kArgminPadding; ++l) {
                const double value = cost(item, low + l);
                best[l] = low + l <= high ? value : std::numeric_limits<double>::infinity();
                index[l] = low + l;
            }
            for (std::int64_t base = low + kArgminPadding; base <= high; base += kArgminPadding) {
#pragma omp simd
                for (std::int64_t l = 0; l < kArgminPadding; ++l) {
                    const double value = cost(item, base + l);
                    const bool better = (value < best[l]) & (base + l <= high);
                    best[l] = better ? value : best[l];
                    index[l] = better ? base + l : index[l];
                }
            }
            fold_argmin<kArgminPadding / 2>(best, index);
            store(item, index[0], best[0]);
        }
    }

  private:
    static constexpr std::int64_t kFew = 4;
    static constexpr std::int64_t kBatch = 64;
    static constexpr std::int64_t kDrawTile = 1024;

    template <typename F>
    static void add_to_lanes(double* lanes, std::int64_t count, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) lanes[i] += f(i);
    }

    template <int Half>
    static void fold_argmin(double* best, std::int64_t* index) {
#pragma omp simd
        for (int l = 0; l < Half; ++l) {
            const double mine = best[l], other = best[l + Half];
            const std::int64_t my_index = index[l], other_index = index[l + Half];
            const bool wins = (other < mine) | ((other == mine) & (other_index < my_index));
            best[l] = wins ? other : mine;
            index[l] = wins ? other_index : my_index;
        }
        if constexpr (Half > 1) fold_argmin<Half / 2>(best, index);
    }

    /// Lanes that no element reached hold +0, and folding them changes nothing.
    static double fold(double* lanes, std::int64_t n) {
        std::int64_t half = kSumLanes / 2;
        while (half > 1 && half >= n) half /= 2;
        for (; half >= 1; half /= 2) {
#pragma omp simd
            for (std::int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        }
        return lanes[0];
    }

    static void butterflies(float* x, float* y, std::int64_t n) {
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) {
            const float a = x[i], b = y[i];
            x[i] = a + b;
            y[i] = a - b;
        }
    }

    static void stages(float* x, std::int64_t n, std::int64_t from) {
        for (std::int64_t h = from; h < n; h *= 2)
            for (std::int64_t i = 0; i < n; i += 2 * h) butterflies(x + i, x + i + h, h);
    }

    static void first_three_stages(float* x) {
        float y[8];
        for (int i = 0; i < 8; i += 2) {
            y[i] = x[i] + x[i + 1];
            y[i + 1] = x[i] - x[i + 1];
        }
        float z[8];
        for (int i = 0; i < 8; i += 4)
            for (int k = i; k < i + 2; ++k) {
                z[k] = y[k] + y[k + 2];
                z[k + 2] = y[k] - y[k + 2];
            }
        for (int i = 0; i < 4; ++i) {
            x[i] = z[i] + z[i + 4];
            x[i + 4] = z[i] - z[i + 4];
        }
    }
};

}  // namespace qstep::quant::cpu

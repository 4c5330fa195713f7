// The Group (quant/group.h) of the CPU: one thread whose loops over elements are vectorised. Loops here name
// no instruction set: quant/cpu/isa.h compiles the callers for several. Two that compilers make badly are
// written out for AVX-512 in quant/cpu/avx512.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "quant/cpu/avx512.h"
#include "quant/cpu/contest.h"
#include "quant/cpu/isa.h"
#include "quant/cpu/philox_words.h"
#include "quant/cpu/walsh_hadamard.h"
#include "quant/group.h"

namespace qstep::quant::cpu {

/// Asks for x[0..n), so that it comes while something else is computed.
inline void fetch(const float* x, std::int64_t n) {
    constexpr std::int64_t kCacheLine = 64 / sizeof(float);
    constexpr int kToRead = 0, kIntoSecondLevel = 2;
    for (std::int64_t i = 0; i < n; i += kCacheLine) __builtin_prefetch(x + i, kToRead, kIntoSecondLevel);
}

/// `isa`: what the caller is compiled for, or less.
template <Isa isa>
class SimdGroupOf {
  public:
    using Index = std::int32_t;

    static constexpr std::int64_t rank() { return 0; }
    static constexpr std::int64_t size() { return 1; }
    static void barrier() {}

    template <typename F>
    static void for_each(std::int64_t n, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) f(i);
    }

    template <typename F>
    void by_few(F f) const {
        f(*this);
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
        Sum<decltype(f(n))> total;
        for (std::int64_t tile = 0; tile < n; tile += kDrawTile)
            total.add(tile, std::min(kDrawTile, n - tile), [=](std::int64_t i) { return f(tile + i); });
        return total.fold(n);
    }

    template <typename F>
    static double sum(std::int64_t n, const Draws& draws, F f) {
        Sum<decltype(f(n, Draws::kHalf))> total;
        for_each_tile(n, draws, [&](std::int64_t tile, std::int64_t size, const std::uint32_t* words) {
            total.add(tile, size, [=](std::int64_t i) { return f(tile + i, words[i]); });
        });
        return total.fold(n);
    }

    /// The same sum of floats, a tile at a time: f(i, size, words, lanes) adds the terms of the elements
    /// i .. i + size - 1, whose words are `words`, to the kSumLanes lanes. 15 more words can be read.
    template <typename F>
    static double sum_tiles(std::int64_t n, const Draws& draws, F f) {
        FloatSum total;
        for_each_tile(n, draws, [&](std::int64_t tile, std::int64_t size, const std::uint32_t* words) {
            f(tile, size, words, total.lanes_for(tile));
        });
        return total.fold(n);
    }

    /// The words of the last four runs are kept for the next loop over the same signs.
    template <typename F>
    void for_each_sign(std::int64_t n, const Signs& signs, F f) {
        constexpr auto run = static_cast<std::int64_t>(Signs::kRun),
                       per_word = static_cast<std::int64_t>(Signs::kWords);
        const auto skip = static_cast<std::int64_t>(signs.first % Signs::kRun);
        for (std::int64_t begin = -skip; begin < n; begin += run) {
            const std::uint64_t index = (signs.first + static_cast<std::uint64_t>(begin)) / Signs::kRun;
            std::uint32_t own[per_word];
            std::copy_n(sign_words(signs.stream, index), per_word, own);
            for (std::int64_t bit = 0; bit < 32; ++bit) {
                const std::int64_t row = begin + bit * per_word;
                if (row >= 0 && row + per_word <= n) {
#pragma omp simd
                    for (std::int64_t j = 0; j < per_word; ++j) f(row + j, own[j] >> bit << 31);
                } else {
                    for (std::int64_t j = 0; j < per_word; ++j)
                        if (row + j >= 0 && row + j < n) f(row + j, own[j] >> bit << 31);
                }
            }
        }
    }

    /// The words of a run of signs, until the next are asked for.
    const std::uint32_t* sign_words(const RandomStream& stream, std::uint64_t run) {
        return sign_words_.of(stream, run / 4) + run % 4 * Signs::kWords;
    }

    static void walsh_hadamard(float* x, std::int64_t n, std::int64_t from) {
        if (from > 1 || n < 16) {
            if (from > 1 || n < 8) return stages(x, n, from);
            return first_three_stages(x);
        }
        if constexpr (isa == Isa::avx512 && kAvx512Written) {
            if (n >= 128) {
                for (std::int64_t i = 0; i < n; i += 128) first_seven_stages_avx512(x + i);
                return stages(x, n, 128);
            }
            for (std::int64_t i = 0; i < n; i += 16) first_four_stages_avx512(x + i);
            return stages(x, n, 16);
        }
        for (std::int64_t i = 0; i < n; i += 8) first_three_stages(x + i);
        stages(x, n, 8);
    }

    /// to[0..n) = from[0..n), if possible past the caches: a line of the destination is not read first.
    /// Others may rely on it behind end_streams().
    static void stream(float* to, const float* from, std::int64_t n) {
        if constexpr (isa == Isa::avx512 && kAvx512Written) return stream_avx512(to, from, n);
        std::copy_n(from, n, to);
    }

    /// Neighbours are counted in two tables, so that an element rarely waits for the one before it.
    template <typename F>
    static void count(std::uint32_t* counts, std::int64_t size, std::int64_t n, F f) {
        std::fill(counts, counts + 2 * size, 0u);
        std::uint32_t place[kDrawTile];
        for (std::int64_t tile = 0; tile < n; tile += kDrawTile) {
            const auto tile_size = static_cast<std::int32_t>(std::min(kDrawTile, n - tile));
#pragma omp simd
            for (std::int32_t i = 0; i < tile_size; ++i)
                place[i] = static_cast<std::uint32_t>(2 * f(tile + i) + (i & 1));
                // One at a time takes twice as long where the loop lies across two lines of the cache.
#pragma GCC unroll 8
            for (std::int32_t i = 0; i < tile_size; ++i) ++counts[place[i]];
        }
        // Nothing is read behind where it was written.
#pragma omp simd
        for (std::int64_t c = 0; c < size; ++c) counts[c] = counts[2 * c] + counts[2 * c + 1];
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

    /// The ranges of several blocks are worked out first: what they wait for overlaps, as long as no search
    /// leaves its loop elsewhere than was guessed.
    template <typename Range, typename Target, typename Store>
    static void for_each_argmin(std::int64_t blocks, const Lines& lines, Range range, Target target,
                                Store store) {
        constexpr Index kTogether = 32;
        const auto all = static_cast<Index>(blocks);
        Index low[kTogether], high[kTogether];
        for (Index first = 0; first < all; first += kTogether) {
            const Index count = std::min(kTogether, all - first);
#pragma omp simd
            for (Index b = 0; b < count; ++b) {
                const IndexRange of_block = range(first + b);
                low[b] = static_cast<Index>(of_block.low);
                high[b] = static_cast<Index>(of_block.high);
            }
            for (Index b = 0; b < count; ++b) {
                alignas(64) Contest contest;
#pragma omp simd
                for (Index l = 0; l < static_cast<Index>(kArgminBlock); ++l) {
                    const LineTarget at = target(first + b, l);
                    contest.value[l] = at.value;
                    contest.slope[l] = at.slope;
                    contest.last[l] = at.last;
                }
                find_least(lines, low[b], high[b], contest);
#pragma omp simd
                for (Index l = 0; l < static_cast<Index>(kArgminBlock); ++l)
                    store(first + b, l, static_cast<Index>(contest.index[l]), contest.least[l]);
            }
        }
    }

  private:
    static constexpr std::int64_t kBatch = 64;
    static constexpr std::int64_t kDrawTile = 1024;

    /// f(begin, size, words) for tiles of at most kDrawTile elements, with the words of their draws.
    template <typename F>
    static void for_each_tile(std::int64_t n, const Draws& draws, F f) {
        alignas(64) std::uint32_t words[kDrawTile + 2 * kBatch];
        if (draws.nearest) std::fill(words, words + kDrawTile, Draws::kHalf);
        for (std::int64_t tile = 0; tile < n; tile += kDrawTile) {
            const std::int64_t size = std::min(kDrawTile, n - tile);
            const std::uint64_t first = draws.first + static_cast<std::uint64_t>(tile);
            const std::int64_t skip = draws.nearest ? 0 : static_cast<std::int64_t>(first % kBatch);
            if (!draws.nearest)
                philox_words<isa>(words, draws.stream, first / kBatch * kBatch / 4, skip + size);
            f(tile, size, words + skip);
        }
    }

    /// A batch of the 64 words of four runs.
    class SignWords {
      public:
        const std::uint32_t* of(const RandomStream& stream, std::uint64_t batch) {
            if (batch != batch_ || stream != stream_) philox_words<isa>(words_, stream, batch * 16, 64);
            stream_ = stream;
            batch_ = batch;
            return words_;
        }

      private:
        RandomStream stream_;
        std::uint64_t batch_ = ~std::uint64_t{0};
        alignas(64) std::uint32_t words_[64];
    };
    SignWords sign_words_;

    /// The lanes of a sum of doubles.
    class DoubleSum {
      public:
        /// `count` <= kDrawTile more terms f(i); there are `from` so far.
        template <typename F>
        void add(std::int64_t from, std::int64_t count, F f) {
            std::int64_t base = 0;
            if (from == 0) {
                if (count >= 2 * kSumLanes)
                    first_pair(lanes_, f), base = 2 * kSumLanes;
                else
                    clear(lanes_);
            }
            for (; base < count; base += kSumLanes)
                add_row(lanes_, std::min(kSumLanes, count - base),
                        [=](std::int64_t i) { return f(base + i); });
        }
        /// The sum of all n terms.
        double fold(std::int64_t n) {
            if (n == 0) return 0.0;
            if constexpr (isa == Isa::avx512 && kAvx512Written) return fold_256_avx512(lanes_);
            std::int64_t half = kSumLanes / 2;
            while (half > 1 && half >= n) half /= 2;
            return fold_from(lanes_, half);
        }

      private:
        alignas(64) double lanes_[kSumLanes];
    };

    /// And of floats.
    class FloatSum {
      public:
        /// For the terms of a tile that are added to them directly; there are `from` so far.
        float* lanes_for(std::int64_t from) {
            if (from % (kFloatTerms * kSumLanes) == 0) {
                if (from > 0) close();
                clear(parts_);
            }
            return parts_;
        }
        /// Rows of lanes are added two at a time, which halves what goes to memory and back.
        template <typename F>
        void add(std::int64_t from, std::int64_t count, F f) {
            constexpr std::int64_t kPair = 2 * kSumLanes;
            static_assert(kFloatTerms * kSumLanes % kDrawTile == 0);
            std::int64_t base = 0;
            if (from % (kFloatTerms * kSumLanes) == 0) {
                if (from > 0) close();
                if (count >= kPair)
                    first_pair(parts_, f), base = kPair;
                else
                    clear(parts_);
            }
            for (; base + kPair <= count; base += kPair)
                add_pair(parts_, [=](std::int64_t i) { return f(base + i); });
            for (; base < count; base += kSumLanes)
                add_row(parts_, std::min(kSumLanes, count - base),
                        [=](std::int64_t i) { return f(base + i); });
        }
        double fold(std::int64_t n) {
            if (n == 0) return 0.0;
            constexpr std::int64_t kHalf = kSumLanes / 2;
            if (closed_) close();
            if constexpr (isa == Isa::avx512 && kAvx512Written)
                return closed_ ? fold_256_avx512(lanes_) : fold_256_avx512(parts_);
            double* const lanes = lanes_;
            const float* const parts = parts_;
            if (!closed_)
#pragma omp simd
                for (std::int64_t i = 0; i < kHalf; ++i)
                    lanes[i] = static_cast<double>(parts[i]) + static_cast<double>(parts[i + kHalf]);
            return fold_from(lanes_, closed_ ? kHalf : kHalf / 2);
        }

      private:
        void close() {
            if (!closed_) clear(lanes_);
            closed_ = true;
            const float* parts = parts_;
            add_row(lanes_, kSumLanes, [=](std::int64_t i) { return static_cast<double>(parts[i]); });
        }

        bool closed_ = false;
        alignas(64) double lanes_[kSumLanes];
        alignas(64) float parts_[kSumLanes];
    };

    template <typename Term>
    using Sum = std::conditional_t<std::is_same_v<Term, float>, FloatSum, DoubleSum>;

    /// From a 0 that the compiler does not know it makes vector stores; of another, an instruction that takes
    /// long to start.
    template <typename Term>
    static void clear(Term* lanes) {
        volatile Term source = 0;
        const Term zero = source;
#pragma omp simd
        for (std::int64_t i = 0; i < kSumLanes; ++i) lanes[i] = zero;
    }

    template <typename Term, typename F>
    static void add_row(Term* lanes, std::int64_t count, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) lanes[i] += f(i);
    }
    template <typename Term, typename F>
    static void first_pair(Term* lanes, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < kSumLanes; ++i) lanes[i] = f(i) + f(i + kSumLanes);
    }
    template <typename F>
    static void add_pair(float* lanes, F f) {
#pragma omp simd
        for (std::int64_t i = 0; i < kSumLanes; ++i) lanes[i] = (lanes[i] + f(i)) + f(i + kSumLanes);
    }

    /// Lanes that no element reached hold +0, and folding them changes nothing.
    static double fold_from(double* lanes, std::int64_t half) {
        for (; half >= 1; half /= 2) {
#pragma omp simd
            for (std::int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
        }
        return lanes[0];
    }
};

/// For code that is compiled for no instruction set in particular.
using SimdGroup = SimdGroupOf<Isa::baseline>;

}  // namespace qstep::quant::cpu

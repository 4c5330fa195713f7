// What a bucket algorithm is written in: operations of a group of threads that work on one bucket together.
//
// Each algorithm (quant/algorithm.h) is made of function templates over a Group, which are compiled for every
// device. On CUDA a group is a thread block: every thread runs the text, a `f(i)` below
// runs in one of them, results of reductions arrive in all. On the CPU it is one thread whose loops are
// vectorised (quant/cpu/simd_group.h). A Group offers:
//
//   rank(), size()              this thread's number, 0 <= rank() < size()
//   barrier()                   what any thread wrote before is seen by every thread behind it
//   for_each(n, f)              f(i) for each 0 <= i < n, in any order
//   by_few(f)                   f(few): few is as many of the threads as wait for each other soonest, a group
//                               with for_each and barrier
//   extent(n, f)                Extent of the floats f(i)
//   sum(n, f)                   sum of the floats or doubles f(i), a double, in the order below
//   sum(n, draws, f)            the same of f(i, draws.word(i)); f may also store its element's result
//   for_each_sign(n, signs, f)  f(i, s), s = signs.sign(i): 0 or 0x80000000, a sign bit to xor with
//   walsh_hadamard(x, n, from)  in place; n and from powers of two; stages h = from, 2 from, ... n/2 in
//                               turn, each putting (a + b, a - b) for the pairs a = x[i], b = x[i+h],
//                               floor(i/h) even
//   sort(keys, spare, n)        uint32 keys ascending; spare: n more
//   count(counts, size, n, f)   counts[c] = how many 0 <= i < n have f(i) = c, for each 0 <= c < size;
//                               counts has room for 2 size uint32, of which the second half is left as it
//                               happens
//   Index                       what for_each_argmin numbers blocks, lanes and lines with; 32 bits at least
//   for_each_argmin(blocks, lines, range, target, store)
//                               for each lane < kArgminBlock of each block: the first index i in
//                               [range(block).low, .high], i <= t.last, whose line has the least value at
//                               t = target(block, lane), and at least .low; handed to
//                               store(block, lane, i, value)
//
// for_each, for_each_sign and for_each_argmin do not wait at their end: put barrier() before another thread's
// element is read. The others wait at both ends.
//
// The order of a sum: lane j of kSumLanes adds f(j), f(j + kSumLanes), ... in turn, starting from 0; then
// lanes are folded, lane j += lane j + kSumLanes/2, then kSumLanes/4, ... 1. Floats are added as floats, but
// not more than kFloatTerms of them: then a lane adds what there is to a double and starts again from 0, so a
// sum of positive floats is off by at most 2^-21 of itself. A bucket longer than kChunk is
// summed chunk by chunk, in turn. Minima and maxima need no order. Together with contraction being off this
// makes every result bitwise the same on all devices. The variance of a whole gradient is such a sum too:
// over the runs of small buckets (quant/buckets.h), within which buckets are added in turn, or over the
// chunks of long ones.
//
// Results go to an Out: something with out[i] = value for 0 <= i < n, such as a float*.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "engine/macros.h"
#include "engine/random.h"
#include "quant/parameters.h"

namespace qstep::quant {

inline constexpr std::int64_t kSumLanes = 256;
inline constexpr std::int64_t kFloatTerms = 8;
/// Elements that one group works through at a time: 32 KiB of floats, a thread block's shared memory.
inline constexpr std::int64_t kChunk = 8192;
/// Lanes of for_each_argmin that search one range.
inline constexpr std::int64_t kArgminBlock = 8;
/// Lines behind the end of a range that it may read, and ignore.
inline constexpr std::int64_t kArgminPadding = 3;

/// Range of some floats, with -0 counted as +0; whether all are finite. low > high: there are none.
struct Extent {
    float low = std::numeric_limits<float>::infinity();
    float high = -std::numeric_limits<float>::infinity();
    bool finite = true;
};

QSTEP_HOST_DEVICE inline Extent merge(const Extent& a, const Extent& b) {
    return {a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high, a.finite && b.finite};
}

/// A closed range of indices.
struct IndexRange {
    std::int64_t low, high;
};

/// Where lines are compared; lines beyond `last` are not for it.
struct LineTarget {
    double value, slope;
    std::int64_t last;
};

/// Line i: t -> t.value * slope[i] + (-value[i] * t.slope + cost[i]), both sums rounded once: half of a GPU's
/// operations. Where a processor has no such instruction, the C library takes 30 times as long.
struct Lines {
    const double *cost, *slope, *value;

    QSTEP_HOST_DEVICE double at(std::int64_t i, double target_value, double target_slope) const {
        return std::fma(target_value, slope[i], std::fma(-value[i], target_slope, cost[i]));
    }
};

/// A lane of a sum of doubles or floats. close(): the terms that follow are added up by themselves first,
/// behind each kFloatTerms.
template <typename Term>
class LaneSum {
  public:
    QSTEP_HOST_DEVICE void add(double term) { total_ += term; }
    QSTEP_HOST_DEVICE void close() {}
    QSTEP_HOST_DEVICE double total() const { return total_; }

  private:
    double total_ = 0;
};
template <>
class LaneSum<float> {
  public:
    QSTEP_HOST_DEVICE void add(float term) { part_ += term; }
    QSTEP_HOST_DEVICE void close() {
        total_ += part_;
        part_ = 0;
    }
    QSTEP_HOST_DEVICE double total() const { return total_ + part_; }

  private:
    double total_ = 0;
    float part_ = 0;
};

/// The words that decide how elements first, first + 1, ... are rounded. `nearest`: 1/2 for each.
struct Draws {
    RoundingStream stream;
    std::uint64_t first = 0;
    bool nearest = false;

    static constexpr std::uint32_t kHalf = 0x80000000u;
    QSTEP_HOST_DEVICE std::uint32_t word(std::int64_t i) const {
        return nearest ? kHalf : stream.bits(first + static_cast<std::uint64_t>(i));
    }
    QSTEP_HOST_DEVICE Draws from(std::int64_t i) const {
        return {stream, first + static_cast<std::uint64_t>(i), nearest};
    }
};

/// Random signs of elements first, first + 1, ...: of each 512 aligned elements, the signs of those with
/// e % 16 = j are the bits, lowest first, of word 16 * (e / 512) + j.
struct Signs {
    RandomStream stream;
    std::uint64_t first = 0;

    static constexpr std::uint64_t kWords = 16;
    static constexpr std::uint64_t kRun = 32 * kWords;
    QSTEP_HOST_DEVICE std::uint32_t sign(std::int64_t i) const {
        const std::uint64_t e = first + static_cast<std::uint64_t>(i);
        const std::uint32_t word = stream.bits(e / kRun * kWords + e % kWords);
        return ((word >> (e % kRun / kWords)) & 1u) << 31;
    }
};

/// What a group needs besides its bucket's elements.
struct FitContext {
    std::uint64_t seed = 0;
    std::uint32_t step = 0;
    Parameters parameters;
    /// Number of the bucket, and candidates to take from it (smart).
    std::int64_t bucket = 0;
    std::int64_t candidates = 0;
    /// Memory of the group for the length of the fit.
    void* scratch = nullptr;
};

/// A reciprocal that positions are made with is a shade above the true one, so that its rounding cannot put
/// an element below the level that it is; far below a draw's grid of 2^-24.
inline constexpr double kShade = 1.0 + 0x1p-50;

inline constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

/// uniform_from_bits(word) as a double: the bits are put behind those of 2^28, which is then taken away.
QSTEP_HOST_DEVICE inline double wide_uniform(std::uint32_t word) {
    return std::bit_cast<double>(std::uint64_t{0x41b00000u} << 32 | word >> 8) - 0x1p28;
}

/// The larger and the smaller of two floats that are not NaN: one instruction on a GPU, which has none for
/// `?:`. smaller(a, NaN) is a.
QSTEP_HOST_DEVICE inline float larger(float a, float b) {
#ifdef __CUDA_ARCH__
    return fmaxf(a, b);
#else
    return a > b ? a : b;
#endif
}
QSTEP_HOST_DEVICE inline float smaller(float a, float b) {
#ifdef __CUDA_ARCH__
    return fminf(a, b);
#else
    return b < a ? b : a;
#endif
}

/// The whole part of 0 <= x < 2^31.
QSTEP_HOST_DEVICE inline double whole_part(double x) {
#ifdef __CUDA_ARCH__
    // Rounding down where doubles are whole numbers; a GPU adds four times as fast as it converts.
    return __dadd_rd(x, 0x1p52) - 0x1p52;
#else
    return static_cast<double>(static_cast<std::int32_t>(x));
#endif
}

}  // namespace qstep::quant

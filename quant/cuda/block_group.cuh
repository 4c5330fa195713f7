// The Group (quant/group.h) of CUDA: the threads of one block, a multiple of 32 of them. Loops go over
// elements with the block's stride, so neighbouring threads take neighbouring elements; a sum's lanes are
// shared out the same way, which makes its order the documented one.
#pragma once

#include "kernels/cuda/device/reduce.cuh"
#include "quant/cuda/sort.cuh"
#include "quant/group.h"

namespace qstep::quant::cuda {

using qstep::cuda::kAllLanes;
using qstep::cuda::kWarp;

/// Turns four words held by each of four neighbouring threads around: thread t gets word t of each, in the
/// order of the threads. All threads of the warp take part.
__device__ inline void transpose_in_quad(std::uint32_t (&word)[4], int thread) {
    const bool odd = thread & 1, upper = thread & 2;
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
        const std::uint32_t got = __shfl_xor_sync(kAllLanes, odd ? word[pair] : word[pair + 1], 1);
        word[pair] = odd ? got : word[pair];
        word[pair + 1] = odd ? word[pair + 1] : got;
    }
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
        const std::uint32_t got = __shfl_xor_sync(kAllLanes, upper ? word[pair] : word[pair + 2], 2);
        word[pair] = upper ? got : word[pair];
        word[pair + 2] = upper ? word[pair + 2] : got;
    }
}

/// All stages of a Walsh-Hadamard transform.
template <int kCount>
__device__ void butterflies(float (&y)[kCount]) {
#pragma unroll
    for (int apart = 1; apart < kCount; apart *= 2)
#pragma unroll
        for (int i = 0; i < kCount; ++i)
            if (i / apart % 2 == 0) {
                const float a = y[i], b = y[i + apart];
                y[i] = a + b;
                y[i + apart] = a - b;
            }
}

/// The first warp of a block.
class FirstWarp {
  public:
    __device__ explicit FirstWarp(int rank) : rank_(rank) {}

    __device__ void barrier() const { __syncwarp(); }
    template <typename F>
    __device__ void for_each(std::int64_t n, F f) const {
#pragma unroll 1
        for (int i = rank_; i < static_cast<int>(n); i += kWarp) f(i);
    }

  private:
    int rank_;
};

class BlockGroup {
  public:
    static constexpr int kMaxThreads = 1024;
    using Index = int;

    /// Shared memory of the group, `QSTEP_SHARED BlockGroup::Storage storage;` in the kernel. An operation
    /// may leave while others still read its results here: all that write them wait first.
    struct Storage {
        double lanes[kSumLanes];
        float low[kMaxThreads / kWarp], high[kMaxThreads / kWarp];
        std::uint32_t largest[kMaxThreads / kWarp];
    };

    __device__ explicit BlockGroup(Storage& storage)
        : storage_(storage), rank_(static_cast<int>(threadIdx.x)), size_(static_cast<int>(blockDim.x)) {}

    __device__ std::int64_t rank() const { return rank_; }
    __device__ std::int64_t size() const { return size_; }
    __device__ void barrier() const { __syncthreads(); }

    template <typename F>
    __device__ void for_each(std::int64_t n, F f) const {
#pragma unroll 4
        for (std::int64_t i = rank_; i < n; i += size_) f(i);
    }

    template <typename F>
    __device__ void by_few(F f) const {
        __syncthreads();
        if (rank_ < kWarp) f(FirstWarp(rank_));
        __syncthreads();
    }

    template <typename F>
    __device__ Extent extent(std::int64_t n, F f) const {
        float low = std::numeric_limits<float>::infinity(), high = -low;
        std::uint32_t largest = 0;
        __syncthreads();
#pragma unroll 4
        for (std::int64_t i = rank_; i < n; i += size_) {
            const float x = f(i);
            const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(x) & 0x7fffffffu;
            low = fminf(low, x);
            high = fmaxf(high, x);
            largest = magnitude > largest ? magnitude : largest;
        }
        for (int offset = kWarp / 2; offset > 0; offset /= 2) {
            low = fminf(low, __shfl_xor_sync(kAllLanes, low, offset));
            high = fmaxf(high, __shfl_xor_sync(kAllLanes, high, offset));
            const std::uint32_t other = __shfl_xor_sync(kAllLanes, largest, offset);
            largest = other > largest ? other : largest;
        }
        const int warp = rank_ / kWarp;
        if (rank_ % kWarp == 0) {
            storage_.low[warp] = low;
            storage_.high[warp] = high;
            storage_.largest[warp] = largest;
        }
        __syncthreads();
        for (int other = 0; other < size_ / kWarp; ++other) {
            low = fminf(low, storage_.low[other]);
            high = fmaxf(high, storage_.high[other]);
            largest = storage_.largest[other] > largest ? storage_.largest[other] : largest;
        }
        // + 0 turns -0 into +0: which zero wins depends on the order.
        return {low + 0.0f, high + 0.0f, largest < 0x7f800000u};
    }

    template <typename F>
    __device__ double sum(std::int64_t n, F f) const {
        __syncthreads();
        for (int lane = rank_; lane < kSumLanes; lane += size_) {
            LaneSum<decltype(f(lane))> sum;
#pragma unroll 4
            for (std::int64_t i = lane, term = 1; i < n; i += kSumLanes, ++term) {
                sum.add(f(i));
                if (term % kFloatTerms == 0) sum.close();
            }
            storage_.lanes[lane] = sum.total();
        }
        return fold();
    }

    template <typename F>
    __device__ double sum(std::int64_t n, const Draws& draws, F f) const {
        if (draws.nearest) return sum(n, [=](std::int64_t i) { return f(i, Draws::kHalf); });
        if (draws.first % 4 != 0) return sum(n, [=](std::int64_t i) { return f(i, draws.word(i)); });
        __syncthreads();
        // Each of four neighbouring threads draws a block of words for the four, one of four rows each.
        const auto row = static_cast<std::uint64_t>(rank_ % 4);
        for (int lane = rank_; lane < kSumLanes; lane += size_) {
            const std::uint64_t block = draws.first / 4 + static_cast<std::uint64_t>(lane / 4);
            LaneSum<decltype(f(n, Draws::kHalf))> sum;
            for (std::int64_t base = 0; base < n; base += 4 * kSumLanes) {
                if (base % (kFloatTerms * kSumLanes) == 0) sum.close();
                Draw4 draw =
                    draws.stream.block(block + static_cast<std::uint64_t>(base / 4) + row * (kSumLanes / 4));
                transpose_in_quad(draw.word, rank_);
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    const std::int64_t i = base + k * kSumLanes + lane;
                    if (i < n) sum.add(f(i, draw.word[k]));
                }
            }
            storage_.lanes[lane] = sum.total();
        }
        return fold();
    }

    /// A thread takes the elements of one word of signs.
    template <typename F>
    __device__ void for_each_sign(std::int64_t n, const Signs& signs, F f) const {
        constexpr auto kRun = static_cast<std::int64_t>(Signs::kRun),
                       kWords = static_cast<std::int64_t>(Signs::kWords);
        const auto skip = static_cast<std::int64_t>(signs.first % Signs::kRun);
        const std::uint64_t first_run = signs.first / Signs::kRun;
        const std::int64_t words = (skip + n + kRun - 1) / kRun * kWords;
        for (std::int64_t at = rank_; at < words; at += size_) {
            const std::uint32_t word =
                signs.stream.bits(first_run * Signs::kWords + static_cast<std::uint64_t>(at));
            const std::int64_t begin = at / kWords * kRun + at % kWords - skip;
#pragma unroll 4
            for (int bit = 0; bit < 32; ++bit) {
                const std::int64_t i = begin + bit * kWords;
                if (i >= 0 && i < n) f(i, (word >> bit & 1u) << 31);
            }
        }
    }

    /// Three stages between two barriers, the last one or two of them alone.
    __device__ void walsh_hadamard(float* x, std::int64_t n, std::int64_t from) const {
        const int end = static_cast<int>(n);
        int h = static_cast<int>(from);
        __syncthreads();
        for (; h * 8 <= end; h *= 8) stages<8>(x, end, h);
        if (h * 4 <= end) {
            stages<4>(x, end, h);
            h *= 4;
        }
        if (h * 2 <= end) stages<2>(x, end, h);
    }

    __device__ void sort(std::uint32_t* keys, std::uint32_t*, std::int64_t n) const {
        sort_keys(keys, static_cast<int>(n), rank_, size_);
    }

    template <typename F>
    __device__ void count(std::uint32_t* counts, std::int64_t size, std::int64_t n, F f) const {
        __syncthreads();
        for (std::int64_t c = rank_; c < size; c += size_) counts[c] = 0;
        __syncthreads();
#pragma unroll 4
        for (std::int64_t i = rank_; i < n; i += size_) atomicAdd(counts + f(i), 1u);
        __syncthreads();
    }

    /// A thread looks for the best of several lanes of a block at once, which share what is loaded of a line.
    /// Few lanes or a team of threads for them take a shorter time and more instructions, so they are spread
    /// over a quarter of the threads and no more.
    template <typename Range, typename Target, typename Store>
    __device__ void for_each_argmin(std::int64_t blocks, const Lines& lines, Range range, Target target,
                                    Store store) const {
        constexpr int kLanes = static_cast<int>(kArgminBlock), kFew = 2, kMany = 4;
        const int count = static_cast<int>(blocks);
        if (count * (kLanes / kFew) <= size_ / 4)
            search_blocks<kFew>(count, lines, range, target, store);
        else
            search_blocks<kMany>(count, lines, range, target, store);
    }

    /// The sum f(0) + f(1) + ... in turn, the values read by all threads and added by one. In all threads.
    template <typename F>
    __device__ double sum_in_turn(std::int64_t n, F f) const {
        double total = 0;
        for (std::int64_t base = 0; base < n; base += kSumLanes) {
            const std::int64_t rest = n - base;
            const int count = rest < kSumLanes ? static_cast<int>(rest) : static_cast<int>(kSumLanes);
            __syncthreads();
            for (int i = rank_; i < count; i += size_) storage_.lanes[i] = f(base + i);
            __syncthreads();
#pragma unroll 8
            for (int i = 0; i < count; ++i) total += storage_.lanes[i];
        }
        return total;
    }

  private:
    struct Best {
        double cost = std::numeric_limits<double>::infinity();
        int index = std::numeric_limits<int>::max();

        __device__ void offer(double other, int at) {
            const bool better = other < cost;
            cost = better ? other : cost;
            index = better ? at : index;
        }
    };

    /// What Lines has at an index.
    struct Line {
        double cost, slope, value;

        __device__ double at(const LineTarget& target) const {
            return Lines{&cost, &slope, &value}.at(0, target.value, target.slope);
        }
    };

    template <int kTogether, typename Range, typename Target, typename Store>
    __device__ void search_blocks(int blocks, const Lines& lines, Range range, Target target,
                                  Store store) const {
        constexpr int kParts = static_cast<int>(kArgminBlock) / kTogether;
        const int items = blocks * kParts;
        // A team is 2^shift threads: dividing by it takes one instruction.
        int shift = 0;
        while (1 << shift < kWarp && items << (shift + 1) <= size_ / 4) ++shift;
        const int team = 1 << shift, member = rank_ & (team - 1);
        for (int base = 0; base < items; base += size_ >> shift) {
            const auto number = static_cast<unsigned>(base + (rank_ >> shift));
            const auto item = static_cast<int>(number), block = static_cast<int>(number / kParts),
                       lane = static_cast<int>(number % kParts * kTogether);
            Best best[kTogether];
            if (item < items) {
                LineTarget targets[kTogether];
#pragma unroll
                for (int k = 0; k < kTogether; ++k) targets[k] = target(block, lane + k);
                search(best, lines, range(block), targets, member, team);
            }
            for (int offset = team / 2; offset > 0; offset /= 2)
#pragma unroll
                for (int k = 0; k < kTogether; ++k) {
                    const Best other{__shfl_xor_sync(kAllLanes, best[k].cost, offset),
                                     __shfl_xor_sync(kAllLanes, best[k].index, offset)};
                    if (other.cost < best[k].cost ||
                        (other.cost == best[k].cost && other.index < best[k].index))
                        best[k] = other;
                }
            if (item < items && member == 0)
#pragma unroll
                for (int k = 0; k < kTogether; ++k) store(block, lane + k, best[k].index, best[k].cost);
        }
    }

    /// The first least line at each target, whose `last` ascend, among those at low + first, one a stride
    /// further, ...
    template <int kTogether>
    __device__ static void search(Best (&best)[kTogether], const Lines& lines, const IndexRange& range,
                                  const LineTarget (&targets)[kTogether], int first, int stride) {
        const int high = static_cast<int>(range.high);
        const auto last = [&](int k) {
            const int of_target = static_cast<int>(targets[k].last);
            return of_target < high ? of_target : high;
        };
        int i = static_cast<int>(range.low) + first;
        // Up to here a line is for all of them.
#pragma unroll 2
        for (; i <= last(0); i += stride) {
            const Line line{lines.cost[i], lines.slope[i], lines.value[i]};
#pragma unroll
            for (int k = 0; k < kTogether; ++k) best[k].offer(line.at(targets[k]), i);
        }
        for (; i <= last(kTogether - 1); i += stride) {
            const Line line{lines.cost[i], lines.slope[i], lines.value[i]};
#pragma unroll
            for (int k = 0; k < kTogether; ++k)
                if (i <= last(k)) best[k].offer(line.at(targets[k]), i);
        }
    }

    /// Adds up storage_.lanes; waits before and behind.
    __device__ double fold() const {
        __syncthreads();
        if (rank_ < kWarp) {
            constexpr int kParts = kSumLanes / kWarp;
            double part[kParts];
#pragma unroll
            for (int i = 0; i < kParts; ++i) part[i] = storage_.lanes[rank_ + i * kWarp];
#pragma unroll
            for (int half = kParts / 2; half > 0; half /= 2)
#pragma unroll
                for (int i = 0; i < half; ++i) part[i] += part[i + half];
            const double total = qstep::cuda::group_sum<kWarp>(part[0]);
            if (rank_ == 0) storage_.lanes[0] = total;
        }
        __syncthreads();
        return storage_.lanes[0];
    }

    /// log2(kCount) stages from h on, and a barrier.
    template <int kCount>
    __device__ void stages(float* x, int n, int h) const {
        for (int item = rank_; item < n / kCount; item += size_) {
            float* first = x + item / h * h * kCount + item % h;
            float y[kCount];
#pragma unroll
            for (int i = 0; i < kCount; ++i) y[i] = first[i * h];
            butterflies(y);
#pragma unroll
            for (int i = 0; i < kCount; ++i) first[i * h] = y[i];
        }
        __syncthreads();
    }

    Storage& storage_;
    int rank_, size_;
};

}  // namespace qstep::quant::cuda

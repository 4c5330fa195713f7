// A small bucket in the registers of kThreads neighbouring threads of a warp, kQuads aligned quads of
// elements in each: read once, 16 bytes a thread, and all four words of a Philox block used where they are
// drawn.
//
// A bucket may begin inside a quad. Its elements then sit at slots `shift` .. `shift` + n - 1. Slot 0 is
// element `base` of the gradient, a multiple of 4; thread t holds slots 4 (t + kThreads v) + c, c < 4, v <
// kQuads. A sum's lane is that of the slot modulo kSumLanes: shifting turns the lanes in a circle, and the
// order in which they are folded is the same all around.
#pragma once

#include "kernels/cuda/device/reduce.cuh"
#include "quant/cuda/sinks.cuh"
#include "quant/group.h"

namespace qstep::quant::cuda {

using qstep::cuda::kAllLanes;
using qstep::cuda::kWarp;

/// Where a bucket's elements lie: slots shift .. end - 1 behind element `base`.
struct Slots {
    std::int64_t base;
    int shift, end;
    static constexpr bool kAll = false;

    /// n elements from `begin` on.
    static __device__ Slots of(std::int64_t begin, int n) {
        const int shift = static_cast<int>(begin % 4);
        return {begin - shift, shift, shift + n};
    }
    __device__ bool holds(int slot) const { return slot >= shift && slot < end; }
    __device__ bool holds_quad(int slot) const { return slot >= shift && slot + 4 <= end; }
};

/// The same of a bucket that fills a tile of kCapacity slots; so do all but the last, and base % kCapacity =
/// 0.
template <int kCapacity>
struct AllSlots {
    std::int64_t base;
    static constexpr int shift = 0, end = kCapacity;
    static constexpr bool kAll = true;

    static __device__ bool holds(int) { return true; }
    static __device__ bool holds_quad(int) { return true; }
};

/// NaN where one of the two is.
__device__ inline float lesser_or_nan(float a, float b) {
#ifdef __CUDA_ARCH__
    float result;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
#else
    return a != a || b != b ? kNotANumber : fminf(a, b);
#endif
}
__device__ inline float greater_or_nan(float a, float b) {
#ifdef __CUDA_ARCH__
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
#else
    return a != a || b != b ? kNotANumber : fmaxf(a, b);
#endif
}

template <int Threads, int Quads>
class QuadTile {
    static_assert(Threads >= 4 && Threads <= kWarp);

  public:
    static constexpr int kThreads = Threads, kQuads = Quads;
    static constexpr int kStride = 4 * kThreads;
    static constexpr int kCapacity = kStride * kQuads;
    /// Quads of a thread whose elements are in different lanes.
    static constexpr int kSets = kCapacity < kSumLanes ? kQuads : static_cast<int>(kSumLanes) / kStride;

    float x[kQuads][4];

    /// thread: within the bucket's threads.
    __device__ explicit QuadTile(int thread) : thread_(thread) {}

    __device__ int slot(int quad) const { return 4 * thread_ + kStride * quad; }

    /// Slots without an element get `rest`.
    template <typename Where>
    __device__ void load(const float* in, const Where& slots, bool vectors, float rest) {
        const float* from = in + slots.base + 4 * thread_;
#pragma unroll
        for (int v = 0; v < kQuads; ++v) {
            const float* quad = from + kStride * v;
            if (vectors && slots.holds_quad(slot(v))) {
                load_floats(x[v], quad);
            } else {
#pragma unroll
                for (int c = 0; c < 4; ++c) x[v][c] = slots.holds(slot(v) + c) ? quad[c] : rest;
            }
        }
    }

    /// Slots without an element get `rest` instead of what they hold.
    template <typename Where>
    __device__ void refill(const Where& slots, float rest) {
        if constexpr (!Where::kAll) {
            if (slots.shift == 0 && slots.end == kCapacity) return;
            for_each([&](float& value, int v, int c) {
                if (!slots.holds(slot(v) + c)) value = rest;
            });
        }
    }

    /// Extent of f(x) over all slots, in all threads; low only if kLow, finite only if kFinite, which without
    /// kLow asks for f(x) >= 0. Of floats that are not all finite, low and high are without meaning.
    template <bool kLow = true, bool kFinite = true, typename F>
    __device__ Extent extent(F f) const {
        const auto lesser = [](float a, float b) { return kFinite ? lesser_or_nan(a, b) : fminf(a, b); };
        const auto greater = [](float a, float b) { return kFinite ? greater_or_nan(a, b) : fmaxf(a, b); };
        float low = std::numeric_limits<float>::infinity(), high = -low;
#pragma unroll
        for (int v = 0; v < kQuads; ++v)
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                const float value = f(x[v][c]);
                if constexpr (kLow) low = lesser(low, value);
                high = greater(high, value);
            }
#pragma unroll
        for (int offset = kThreads / 2; offset > 0; offset /= 2) {
            if constexpr (kLow) low = lesser(low, __shfl_xor_sync(kAllLanes, low, offset));
            high = greater(high, __shfl_xor_sync(kAllLanes, high, offset));
        }
        // An infinity is an end, and a NaN both.
        constexpr float kLargest = std::numeric_limits<float>::max();
        const bool finite = !kFinite || (high <= kLargest && (!kLow || low >= -kLargest));
        // + 0 turns -0 into +0: which zero wins depends on the order.
        return {low + 0.0f, high + 0.0f, finite};
    }

    /// Lanes of a sum over the slots, of which a thread has four a set. None has more than kFloatTerms.
    template <typename Term = double>
    struct Lanes {
        static_assert(kCapacity <= kFloatTerms * kSumLanes);
        Term of[kSets][4] = {};
        __device__ Term& at(int quad, int c) { return of[quad % kSets][c]; }
        __device__ Lanes<double> wide() const {
            Lanes<double> lanes;
#pragma unroll
            for (int set = 0; set < kSets; ++set)
#pragma unroll
                for (int c = 0; c < 4; ++c) lanes.of[set][c] = of[set][c];
            return lanes;
        }
    };

    /// The sum, folded in the documented order, in all threads.
    __device__ double fold(Lanes<double> lanes) const {
#pragma unroll
        for (int half = kSets / 2; half > 0; half /= 2)
#pragma unroll
            for (int set = 0; set < half; ++set)
#pragma unroll
                for (int c = 0; c < 4; ++c) lanes.of[set][c] += lanes.of[set + half][c];
        // Four sums over the same threads: each half, then quarter, of the threads goes on with a part of
        // them.
        constexpr int kHalf = kThreads / 2, kQuarter = kThreads / 4;
        const bool second_half = thread_ & kHalf, second_quarter = thread_ & kQuarter;
        double(&lane)[4] = lanes.of[0];
        double pair[2];
#pragma unroll
        for (int c = 0; c < 2; ++c)
            pair[c] = (second_half ? lane[c + 2] : lane[c]) +
                      __shfl_xor_sync(kAllLanes, second_half ? lane[c] : lane[c + 2], kHalf);
        double total = (second_quarter ? pair[1] : pair[0]) +
                       __shfl_xor_sync(kAllLanes, second_quarter ? pair[0] : pair[1], kQuarter);
#pragma unroll
        for (int offset = kThreads / 8; offset > 0; offset /= 2)
            total += __shfl_xor_sync(kAllLanes, total, offset);
        // The last two folds are those of the four.
        total += __shfl_xor_sync(kAllLanes, total, kHalf);
        return total + __shfl_xor_sync(kAllLanes, total, kQuarter);
    }

    /// Sum of f(x). Slots without an element must hold 0, of which f must be 0.
    template <typename F>
    __device__ double sum(F f) const {
        Lanes<> lanes;
#pragma unroll
        for (int v = 0; v < kQuads; ++v)
#pragma unroll
            for (int c = 0; c < 4; ++c) lanes.at(v, c) += f(x[v][c]);
        return fold(lanes);
    }

    /// x = put(code of x). The word of slot p is that of element `first` + p; `first` is a multiple of 4
    /// unless slots.end is below 4, in a tile of one quad a thread, and of kCapacity if Where::kAll. Slots
    /// from slots.end on stay. Returns the spread before scaling.
    template <typename Rounder, typename Where, typename Put>
    __device__ double round(const Rounder& rounder, const Draws& draws, std::int64_t first,
                            const Where& slots, Put put) {
        typename Rounder::Code code;
        Lanes<decltype(rounder(0.0f, 0u, code))> lanes;
        // A few quads draw together: they share the keys of Philox's rounds.
        constexpr int kTogether = kQuads < 2 ? kQuads : 2;
        Draw4 drawn[kTogether];
#pragma unroll
        for (int v = 0; v < kQuads; ++v) {
            if (v % kTogether == 0) draw_quads<Where::kAll>(drawn, draws, first, v);
            if (slot(v) < slots.end) {
                Draw4 draw = drawn[v % kTogether];
                if constexpr (kQuads == 1)
                    if (first % 4 != 0) draw = turned(draw, static_cast<int>(first % 4));
#pragma unroll
                for (int c = 0; c < 4; ++c) {
                    lanes.at(v, c) += rounder(x[v][c], draw.word[c], code);
                    x[v][c] = put(code);
                }
            }
        }
        return fold(lanes.wide());
    }

    template <typename Sink, typename Where>
    __device__ void store(const Sink& sink, const Where& slots, bool vectors) const {
        using Fetched = typename Sink::template Fetched<4>;
        const std::int64_t first = slots.base + 4 * thread_;
        Fetched ahead{};
        if (vectors && slots.holds_quad(slot(0))) ahead = sink.template fetch<4>(first);
#pragma unroll
        for (int v = 0; v < kQuads; ++v) {
            const Fetched fetched = ahead;
            // What the next quad needs is asked for before this one is stored.
            if (v + 1 < kQuads && vectors && slots.holds_quad(slot(v + 1)))
                ahead = sink.template fetch<4>(first + kStride * (v + 1));
            const std::int64_t e = first + kStride * v;
            if (vectors && slots.holds_quad(slot(v))) {
                sink.template put<4>(e, x[v], fetched);
            } else {
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    if (slots.holds(slot(v) + c)) {
                        const float value[1] = {x[v][c]};
                        sink.template put<1>(e + c, value, sink.template fetch<1>(e + c));
                    }
            }
        }
    }

    /// f(x, quad, c) for the thread's elements.
    template <typename F>
    __device__ void for_each(F f) {
#pragma unroll
        for (int v = 0; v < kQuads; ++v)
#pragma unroll
            for (int c = 0; c < 4; ++c) f(x[v][c], v, c);
    }
    __device__ void fill(float value) {
        for_each([=](float& x, int, int) { x = value; });
    }

  private:
    /// The words of quads v, v + 1, ... For rounding to nearest they are drawn too, and replaced without a
    /// branch: behind one, everything that is done with them would be there twice.
    template <bool kAll, int kCount>
    __device__ void draw_quads(Draw4 (&to)[kCount], const Draws& draws, std::int64_t first, int v) const {
        const std::uint64_t base = static_cast<std::uint64_t>(first) / 4;
        const std::uint32_t kept = draws.nearest ? 0u : ~0u, half = draws.nearest ? Draws::kHalf : 0u;
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            const auto offset = static_cast<std::uint32_t>(thread_ + kThreads * (v + i));
            // In a whole tile no addition carries.
            to[i] = draws.stream.block(kAll ? base | offset : base + offset);
#pragma unroll
            for (int c = 0; c < 4; ++c) to[i].word[c] = (to[i].word[c] & kept) | half;
        }
    }

    /// Word c becomes word c + by, in a circle.
    static __device__ Draw4 turned(Draw4 draw, int by) {
        const auto turn = [](const Draw4& d, bool one, bool two) {
            const Draw4 once{{one ? d.word[1] : d.word[0], one ? d.word[2] : d.word[1],
                              one ? d.word[3] : d.word[2], one ? d.word[0] : d.word[3]}};
            return Draw4{{two ? once.word[2] : once.word[0], two ? once.word[3] : once.word[1],
                          two ? once.word[0] : once.word[2], two ? once.word[1] : once.word[3]}};
        };
        return turn(draw, by & 1, by & 2);
    }

    int thread_;
};

}  // namespace qstep::quant::cuda

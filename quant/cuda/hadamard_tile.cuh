// Hadamard on a bucket in the registers of a warp or half of one: transform, round and transform back in one
// pass.
//
// Of a slot's bits the lowest two are the element of a quad, the next four or five the thread, the rest the
// quad: four or five stages exchange with other threads by shuffles, the others stay within a thread.
//
// 8 bytes an element: 64 M elements move in 125 us at 4.3 TB/s, in which an H200 issues 58 to 62 instructions
// an element. For whole buckets of 512 and up to 16 levels the machine code of sm_90 has 70 of them: 31 are
// those of `standard` without its loads and stores, 26 the two transforms (a stage within a thread is one
// addition, one between threads a shuffle and an addition: 18 additions and 8 shuffles both ways), 8 signs
// and scale, 3 the second range, 2 the rest. So some 77 % of a copy's rate, 160 us, is to be expected.
// Going through shared memory instead of 4 shuffles needs two ways there and back for a vector, since
// rounding wants whole quads in a thread: as many accesses as shuffles, and 3 instructions an element less.
#pragma once

#include "quant/cuda/small_buckets.cuh"
#include "quant/hadamard.h"

namespace qstep::quant::cuda {

/// Sign bits of a thread's elements.
template <typename Tile>
class TileSigns {
  public:
    /// Slot p is element begin + p.
    __device__ TileSigns(const Tile& tile, const Signs& signs, std::int64_t begin) {
#pragma unroll
        for (int i = 0; i < kWords; ++i) bits_[i] = 0;
        if (begin % 4 == 0)
            draw_quads(tile, signs.stream, static_cast<std::uint64_t>(begin));
        else
            draw_elements(tile, signs.stream, begin);
    }

    /// 0 or 0x80000000.
    __device__ std::uint32_t of(int quad, int c) const {
        const int at = 4 * quad + c;
        return bits_[at / 32] << (31 - at % 32) & 0x80000000u;
    }

  private:
    static constexpr int kWords = (4 * Tile::kQuads + 31) / 32;

    __device__ void draw_quads(const Tile& tile, const RandomStream& stream, std::uint64_t begin) {
        std::uint64_t drawn = ~std::uint64_t{0};
        Draw4 draw{};
#pragma unroll
        for (int v = 0; v < Tile::kQuads; ++v) {
            // The words of four neighbours are one block; quads of a thread are a multiple of 16 elements
            // apart, so the block changes with the run of signs alone.
            const std::uint64_t e = begin + static_cast<std::uint64_t>(tile.slot(v));
            if (e / Signs::kRun != drawn) {
                drawn = e / Signs::kRun;
                draw = stream.block(drawn * (Signs::kWords / 4) + e % Signs::kWords / 4);
            }
            const auto bit = static_cast<std::uint32_t>(e % Signs::kRun / Signs::kWords);
#pragma unroll
            for (int c = 0; c < 4; ++c) bits_[4 * v / 32] |= (draw.word[c] >> bit & 1u) << ((4 * v + c) % 32);
        }
    }
    __device__ void draw_elements(const Tile& tile, const RandomStream& stream, std::int64_t begin) {
#pragma unroll 1
        for (int v = 0; v < Tile::kQuads; ++v)
            for (int c = 0; c < 4; ++c) {
                const Signs from_here{stream, static_cast<std::uint64_t>(begin)};
                const std::uint32_t bit = from_here.sign(tile.slot(v) + c) >> 31 << ((4 * v + c) % 32);
#pragma unroll
                for (int i = 0; i < kWords; ++i) bits_[i] |= v / 8 == i ? bit : 0u;
            }
    }

    std::uint32_t bits_[kWords];
};

/// The same of a tile that is whole runs of signs: a word has the bits of all of a thread's quads in a run.
template <typename Tile>
class WholeTileSigns {
  public:
    /// begin % kCapacity = 0.
    __device__ WholeTileSigns(const Tile& tile, const Signs& signs, std::int64_t begin) {
        const auto first = static_cast<std::uint32_t>(tile.slot(0));
        const std::uint64_t block = static_cast<std::uint64_t>(begin) / kRun * (kWords / 4);
#pragma unroll
        for (int run = 0; run < kRuns; ++run) {
            const Draw4 draw = signs.stream.block(block + (run * (kWords / 4) + first % kWords / 4));
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                const std::uint32_t bits = draw.word[c] >> first / kWords;
                words_[c] = kRuns == 1 ? bits : run == 0 ? bits & kMine : words_[c] | (bits & kMine) << run;
            }
        }
    }

    __device__ std::uint32_t of(int quad, int c) const {
        return words_[c] << (31 - quad % kQuads * kBits - quad / kQuads) & 0x80000000u;
    }

  private:
    static constexpr int kRun = static_cast<int>(Signs::kRun), kWords = static_cast<int>(Signs::kWords);
    static constexpr int kQuads = kRun / Tile::kStride;
    static constexpr int kRuns = Tile::kCapacity / kRun;
    // A thread's quads in a run are so many bits apart, and of those in between the other runs take some.
    static constexpr int kBits = Tile::kStride / kWords;
    static constexpr std::uint32_t kMine = static_cast<std::uint32_t>(0xffffffffu / ((1u << kBits) - 1));
    static_assert(kRuns <= kBits && (kRuns == 1 || kQuads * kBits == 32));

    std::uint32_t words_[4];
};

/// The stages h = 1, 2, ... padded / 2.
template <typename Tile>
__device__ void walsh_hadamard(Tile& tile, int padded) {
#pragma unroll
    for (int h = 1; h < 4; h *= 2)
        if (h < padded)
#pragma unroll
            for (int v = 0; v < Tile::kQuads; ++v)
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    if (c / h % 2 == 0) {
                        const float a = tile.x[v][c], b = tile.x[v][c + h];
                        tile.x[v][c] = a + b;
                        tile.x[v][c + h] = a - b;
                    }
#pragma unroll
    for (int apart = 1; apart < Tile::kThreads; apart *= 2) {
        // The bucket beside this one in the warp may have another length, and takes part.
        const bool wanted = 4 * apart < padded;
        // a + b or a - b: the multiplication is exact, so this rounds once like the other.
        const float factor = threadIdx.x & apart ? -1.0f : 1.0f;
#pragma unroll
        for (int v = 0; v < Tile::kQuads; ++v)
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                float& x = tile.x[v][c];
                const float other = __shfl_xor_sync(kAllLanes, x, apart);
                x = wanted ? fmaf(x, factor, other) : x;
            }
    }
#pragma unroll
    for (int w = 1; w < Tile::kQuads; w *= 2)
        if (Tile::kStride * w < padded)
#pragma unroll
            for (int v = 0; v < Tile::kQuads; ++v)
                if (v / w % 2 == 0)
#pragma unroll
                    for (int c = 0; c < 4; ++c) {
                        const float a = tile.x[v][c], b = tile.x[v + w][c];
                        tile.x[v][c] = a + b;
                        tile.x[v + w][c] = a - b;
                    }
}

/// A bucket. elements: where they lie, with shift = 0 and 0 < end <= padded <= the tile's capacity, or end =
/// 0 and padded = 1 for one that does not exist. draw: element whose word belongs to slot 0.
template <typename Where>
struct TileBucket {
    std::int64_t number;
    Where elements;
    int padded;
    std::int64_t draw;
};

/// The slots of the rotated bucket.
inline __device__ Slots rotated_slots(const Slots&, int padded) {
    return {0, 0, padded};
}
template <int kCapacity>
__device__ AllSlots<kCapacity> rotated_slots(const AllSlots<kCapacity>&, int) {
    return {0};
}

/// Returns the spread.
template <typename Tile, typename Sink, typename Where, typename Table = NoTable>
__device__ double rotate_and_quantize(const Task& task, const Draws& draws, const Sink& sink,
                                      const TileBucket<Where>& bucket, const Table& table = {}) {
    const int thread = static_cast<int>(threadIdx.x) % Tile::kThreads;
    Tile tile(thread);
    const Where& elements = bucket.elements;
    const auto rotated = rotated_slots(elements, bucket.padded);
    const bool vectors = Where::kAll || (task.vectors && elements.base % 4 == 0);
    tile.load(task.in, elements, vectors, 0.0f);
    using TheSigns = std::conditional_t<Where::kAll, WholeTileSigns<Tile>, TileSigns<Tile>>;
    const TheSigns signs(tile, Signs{{draws.stream.seed, Purpose::rotation, draws.stream.step}, 0},
                         elements.base);
    const Hadamard::Scale scale =
        Hadamard::scale(tile.template extent<false>([](float x) { return fabsf(x); }), bucket.padded);
    tile.for_each([&](float& x, int v, int c) {
        x = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x * scale.forward) ^ signs.of(v, c));
    });
    walsh_hadamard(tile, bucket.padded);
    // What is beyond the vector must neither change its range nor add to its spread.
    const int first_lane = static_cast<int>(threadIdx.x) % kWarp - thread;
    tile.refill(rotated, __shfl_sync(kAllLanes, tile.x[0][0], first_lane));
    Standard::Fit fit = Standard::fit_of(tile.template extent<true, false>([](float x) { return x; }),
                                         bucket.padded, task.parameters);
    tile.refill(rotated, fit.low);
    const double shares = round_tile<Standard, Sink>(tile, fit, draws, bucket.draw, rotated, table, thread);
    const double spread = scale.finite ? shares * scale.variance : std::numeric_limits<double>::quiet_NaN();
    if constexpr (Sink::kCodes) {
        if (!scale.finite) tile.fill(0.0f);
        if (elements.end > 0)
            sink.put_header(bucket.number, thread, Tile::kThreads,
                            [&](std::int64_t i) { return Hadamard::header_word(scale, fit, i); });
        store_codes(tile, sink, Slots{0, 0, elements.end > 0 ? bucket.padded : 0}, bucket.number,
                    task.buckets.buckets_per_run());
    } else {
        walsh_hadamard(tile, bucket.padded);
        // 2^e / P is a float for every P that a tile holds, and a product with it rounds once.
        const auto backward = static_cast<float>(scale.backward);
        tile.for_each([&](float& x, int v, int c) {
            x = std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) ^ signs.of(v, c)) * backward;
        });
        // x is at most 8 padded^2 <= 2^25 before this, so few buckets have values that leave the floats.
        if (__any_sync(kAllLanes, !(backward < 0x1p100f)))
            tile.for_each([](float& x, int, int) {
                constexpr float kLargest = std::numeric_limits<float>::max();
                x = fminf(fmaxf(x, -kLargest), kLargest);
            });
        // + 0 turns -0 into +0.
        tile.for_each([](float& x, int, int) { x += 0.0f; });
        if (!scale.finite) tile.fill(kNotANumber);
        tile.store(sink, elements, Where::kAll || (vectors && sink.vectors()));
    }
    return spread;
}

}  // namespace qstep::quant::cuda

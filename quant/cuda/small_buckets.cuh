// Buckets of up to kMaxTileSlots elements: quantized in the registers of a warp or a part of one, in one
// pass. A block takes a run of buckets (quant/buckets.h) and adds up its spreads.
//
// 8 bytes an element, or 20 with an update in the same launch: 64 M elements move in 125 us or 312 us at
// 4.3 TB/s, in which an H200 issues 58 to 62 instructions an element, or 144 to 155 (1.83 to 1.98 GHz), half
// as many of those that compare, shift or are logical. For whole buckets of 512 the machine code of sm_90
// has, an element: `standard` 34 with up to 16 levels and 40 with more, of which a quarter of a Philox block
// 7, range and fit 5, placing and rounding 18; 16 are of the slower kind, and one operation on doubles.
// `exponential` has 42, 4 of them on doubles. So memory is what they should wait for.
#pragma once

#include "quant/cuda/code_sink.cuh"
#include "quant/cuda/quad_tile.cuh"
#include "quant/cuda/task.cuh"
#include "quant/cuda/value_table.cuh"

namespace qstep::quant::cuda {

constexpr std::int64_t kMaxTileSlots = 2048;

/// Slots that any bucket takes in a QuadTile.
inline std::int64_t tile_slots(const Buckets& buckets) {
    const bool aligned = buckets.count() == 1 || buckets.size % 4 == 0;
    return buckets.size + (aligned ? 0 : 3);
}

/// Threads of a block, and blocks a multiprocessor has registers for: 64, 128 or 168 a thread, so that
/// nothing is spilled. The fewest threads, 384 with 16 loads of 16 bytes each, still keep far more bytes
/// under way than the memory's latency asks for, some 26 KB a multiprocessor.
template <typename Tile>
constexpr int kTileThreads = Tile::kQuads <= 1   ? 512
                             : Tile::kQuads <= 8 ? 256
                                                 : 128;
template <typename Tile>
constexpr int kTileBlocks = Tile::kQuads == 16 ? 3 : 2;

/// Calls f(a null pointer to the smallest QuadTile that has so many slots).
template <typename F>
void with_tile_for(std::int64_t slots, F f) {
    if (slots <= 16) return f(static_cast<QuadTile<4, 1>*>(nullptr));
    if (slots <= 32) return f(static_cast<QuadTile<8, 1>*>(nullptr));
    if (slots <= 128) return f(static_cast<QuadTile<32, 1>*>(nullptr));
    if (slots <= 512) return f(static_cast<QuadTile<16, 8>*>(nullptr));
    if (slots <= 1024) return f(static_cast<QuadTile<32, 8>*>(nullptr));
    f(static_cast<QuadTile<32, 16>*>(nullptr));
}

/// What a code, or an element of a bucket that is not finite, leaves in a tile for the sink: its value, or
/// its index as the bits of a float.
template <typename Algorithm, typename Sink>
__device__ float left_by(const typename Algorithm::Decoder& decoder,
                         const typename Algorithm::Decoder::Code& code) {
    if constexpr (Sink::kCodes) return std::bit_cast<float>(decoder.index(code));
    return decoder.value(code);
}
template <typename Algorithm, typename Sink>
__device__ float left_by_not_a_number() {
    return Sink::kCodes ? std::bit_cast<float>(Algorithm::kNanIndex) : kNotANumber;
}

/// Shared memory of a block for codes, behind its spreads.
template <typename Tile, typename Sink>
constexpr std::size_t kCodeBytes = Sink::kCodes ? kTileThreads<Tile> / Tile::kThreads* Tile::kCapacity *
                                                      sizeof(std::uint16_t)
                                                : 0;

/// Writes the codes that `slots` of the tile hold, through the block's shared memory.
template <typename Tile, typename Sink>
__device__ void store_codes(Tile& tile, const Sink& sink, const Slots& slots, std::int64_t bucket,
                            std::int64_t buckets_per_run) {
    const int thread = static_cast<int>(threadIdx.x);
    auto* codes = reinterpret_cast<std::uint16_t*>(qstep::cuda::dynamic_shared<double>() + buckets_per_run) +
                  thread / Tile::kThreads * Tile::kCapacity;
    tile.for_each([&](float x, int v, int c) {
        const int slot = tile.slot(v) + c;
        if (slots.holds(slot))
            codes[slot - slots.shift] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x));
    });
    __syncwarp();
    sink.put_codes(bucket, 0, slots.end - slots.shift, thread % Tile::kThreads, Tile::kThreads,
                   [=](std::int64_t i) { return codes[i]; });
    __syncwarp();
}

/// Rounds the tile's slots to what they leave for the sink; returns the spread before scaling. Fit: has been
/// found for `Algorithm`. With a table it is a fit for few levels, so how many bits the fraction has is
/// known.
template <typename Algorithm, typename Sink, typename Tile, typename Fit, typename Where, typename Table>
__device__ double round_tile(Tile& tile, Fit& fit, const Draws& draws, std::int64_t first, const Where& slots,
                             const Table& table, int thread) {
    if constexpr (Table::kThere) fit.fraction_bits = Algorithm::kMostFractionBits;
    const typename Algorithm::Rounder rounder(fit);
    const typename Algorithm::Decoder decoder(fit);
    if constexpr (Table::kThere) {
        table.fill(decoder, thread);
        return tile.round(rounder, draws, first, slots, [=](std::uint32_t code) { return table[code]; }) *
               rounder.scale();
    } else {
        return tile.round(rounder, draws, first, slots, [=](const auto& code) {
            return left_by<Algorithm, Sink>(decoder, code);
        }) * rounder.scale();
    }
}

/// The bucket that `slots` hold, if any; returns its spread, in all of its threads.
template <typename Algorithm, typename Tile, typename Sink, typename Where, typename Table = NoTable>
__device__ double quantize_slots(const Task& task, const Draws& draws, const Sink& sink, std::int64_t bucket,
                                 const Where& slots, const Table& table = {}) {
    const int thread = static_cast<int>(threadIdx.x) % Tile::kThreads, n = slots.end - slots.shift;
    // A whole tile is only taken where both suit vectors.
    const bool load_vectors = Where::kAll || task.vectors,
               store_vectors = Where::kAll || (task.vectors && sink.vectors());
    Tile tile(thread);
    // What is in no slot must not change the measure: it is 0 or one more time the first element.
    float rest = 0.0f;
    if constexpr (!Algorithm::kSums && !Where::kAll)
        if (n > 0) rest = task.in[slots.base + slots.shift];
    tile.load(task.in, slots, load_vectors, rest);
    const Extent extent =
        tile.template extent<!Algorithm::kSums>([](float x) { return Algorithm::projected(x); });
    double sum = 0;
    if constexpr (Algorithm::kSums) sum = tile.sum([](float x) { return Algorithm::term(x); });
    auto fit = Algorithm::fit_of(Algorithm::measure_of(extent, sum), n, task.parameters);
    tile.refill(slots, Algorithm::neutral(fit));
    // Neighbours in the warp may have a bucket that needs rounding, so every bucket is rounded.
    double spread = round_tile<Algorithm, Sink>(tile, fit, draws, slots.base, slots, table, thread);
    if (!fit.finite) {
        tile.fill(left_by_not_a_number<Algorithm, Sink>());
        spread = std::numeric_limits<double>::quiet_NaN();
    } else if (Algorithm::vanishes(fit)) {
        tile.fill(0.0f);
        spread = 0;
    }
    if constexpr (Sink::kCodes) {
        if (n > 0)
            sink.put_header(bucket, thread, Tile::kThreads,
                            [&](std::int64_t i) { return bucket_header_word<Algorithm>(fit, i); });
        store_codes(tile, sink, slots, bucket, task.buckets.buckets_per_run());
    } else {
        tile.store(sink, slots, store_vectors);
    }
    return spread;
}

/// A block works through its run of buckets and writes the run's spread; dynamic shared memory: a double a
/// bucket of a run. quantize(bucket): as above, for a bucket that may lie beyond the last.
template <int kThreads, typename F>
__device__ void for_each_in_run(const Buckets& buckets, double* run_spreads, F quantize) {
    double* spread_of = qstep::cuda::dynamic_shared<double>();
    const std::int64_t run = blockIdx.x, first = run * buckets.buckets_per_run();
    const int count = static_cast<int>(buckets.run_count(run));
    const int thread = static_cast<int>(threadIdx.x), groups = static_cast<int>(blockDim.x) / kThreads;
    for (int base = 0; base < count; base += groups) {
        const int at = base + thread / kThreads;
        const double spread = quantize(first + at, at < count);
        if (at < count && thread % kThreads == 0) spread_of[at] = spread;
    }
    __syncthreads();
    if (thread != 0) return;
    double total = 0;
    for (int at = 0; at < count; ++at) total += spread_of[at];
    run_spreads[run] = total;
}

/// Sinks and tiles for which there is a faster way where every bucket of a block's run fills a tile, so that
/// no element need be asked whether it is there. It is that of most blocks where the bucket size is a tile's.
template <typename Tile, typename Sink>
constexpr bool kWholeTiles = !Sink::kCodes && Tile::kQuads > 1;

template <typename Tile, typename Sink>
__device__ bool fills_tiles(const Task& task, const Sink& sink) {
    const std::int64_t end = (blockIdx.x + std::int64_t{1}) * task.buckets.buckets_per_run();
    return task.buckets.size == Tile::kCapacity && end * Tile::kCapacity <= task.buckets.elements &&
           task.vectors && sink.vectors();
}

/// f(the table of this thread's bucket) where levels are few, else f(none).
template <typename Algorithm, typename Tile, typename F>
__device__ void with_table(const Task& task, const F& f) {
    if constexpr (kTabled<Algorithm>) {
        QSTEP_SHARED ValueTable::Storage<kTileThreads<Tile>, Tile::kThreads> tables;
        if (task.parameters.levels <= ValueTable::kLevels) return f(tables.mine());
    }
    f(NoTable{});
}

template <typename Algorithm, typename Tile, typename Sink>
__global__ void __launch_bounds__(kTileThreads<Tile>, kTileBlocks<Tile>)
    small_buckets_kernel(Task task, Sink stored_sink, double* run_spreads) {
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const Draws draws = task.draws();
    if constexpr (kWholeTiles<Tile, Sink>)
        if (fills_tiles<Tile>(task, sink))
            return with_table<Algorithm, Tile>(task, [&](const auto& table) {
                for_each_in_run<Tile::kThreads>(task.buckets, run_spreads, [&](std::int64_t bucket, bool) {
                    const AllSlots<Tile::kCapacity> slots{bucket * Tile::kCapacity};
                    return quantize_slots<Algorithm, Tile>(task, draws, sink, bucket, slots, table);
                });
            });
    for_each_in_run<Tile::kThreads>(task.buckets, run_spreads, [&](std::int64_t bucket, bool exists) {
        const int n = exists ? static_cast<int>(task.buckets.length(bucket)) : 0;
        const Slots slots = Slots::of(exists ? task.buckets.begin(bucket) : 0, n);
        return quantize_slots<Algorithm, Tile>(task, draws, sink, bucket, slots);
    });
}

/// A block a run, and a thread group a bucket as far as there is room.
template <typename Tile, typename Sink>
qstep::cuda::LaunchShape run_shape(const Buckets& buckets) {
    const std::int64_t count = buckets.count(), per_run = buckets.buckets_per_run();
    const std::int64_t wanted = (count < per_run ? count : per_run) * Tile::kThreads;
    const std::int64_t threads =
        wanted < kTileThreads<Tile> ? (wanted + kWarp - 1) / kWarp * kWarp : kTileThreads<Tile>;
    return {buckets.runs(), static_cast<int>(threads),
            static_cast<std::size_t>(per_run) * sizeof(double) + kCodeBytes<Tile, Sink>};
}

/// Writes one spread a run.
template <typename Algorithm, typename Sink>
void launch_small_buckets(Context& context, const char* name, const Task& task, const Sink& sink,
                          double* run_spreads) {
    with_tile_for(tile_slots(task.buckets), [&](auto* tile) {
        using Tile = std::remove_pointer_t<decltype(tile)>;
        qstep::cuda::launch(context, name, small_buckets_kernel<Algorithm, Tile, Sink>,
                            run_shape<Tile, Sink>(task.buckets), task, sink, run_spreads);
    });
}

}  // namespace qstep::quant::cuda

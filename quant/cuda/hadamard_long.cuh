// Hadamard on buckets longer than a chunk, through a padded copy in the workspace: all chunks of some buckets
// together, one phase after the other. A copy that stays within the second-level cache costs little, so
// buckets are taken a wave at a time.
//
// Of memory 12 bytes an element (24 with an update), 187 us for 64 M elements at 4.3 TB/s; of the cache 20
// bytes more, and 16 for every three stages beyond a chunk. Operations as in quant/cuda/hadamard_tile.cuh,
// with a stage more for every doubling.
#pragma once

#include "quant/cuda/block_buckets.cuh"
#include "quant/hadamard.h"

namespace qstep::quant::cuda {

/// Memory that all waves share.
struct LongHadamard {
    /// Elements of a whole bucket, padded; and chunks of that.
    std::int64_t padded, chunks;
    float* rotated;
    /// Largest |x| of a chunk, or NaN where one is not finite; range of a chunk of `rotated`; spread of a
    /// chunk.
    float* magnitudes;
    float* extents;
    double* spreads;
    double* bucket_spreads;
};

/// Buckets first .. first + count - 1, all of which are padded to `padded` > kChunk elements.
struct Wave {
    std::int64_t first, count, padded;

    QSTEP_HOST_DEVICE std::int64_t chunks() const { return padded / kChunk; }
};

/// What block blockIdx.x works on.
struct Piece {
    std::int64_t bucket, chunk;
    /// Of the chunk: its number in LongHadamard's arrays, its first element of the gradient, how many there
    /// are.
    std::int64_t number, begin, n;
    float* rotated;

    __device__ Piece(const Task& task, const LongHadamard& memory, const Wave& wave) {
        const std::int64_t block = blockIdx.x, chunks = wave.chunks();
        bucket = wave.first + block / chunks;
        chunk = block % chunks;
        number = bucket * memory.chunks + chunk;
        begin = task.buckets.begin(bucket) + chunk * kChunk;
        const std::int64_t rest = task.buckets.length(bucket) - chunk * kChunk;
        n = rest < 0 ? 0 : rest < kChunk ? rest : kChunk;
        rotated = memory.rotated + (bucket - wave.first) * wave.padded + chunk * kChunk;
    }
    __device__ Hadamard::Scale scale(const BlockGroup& group, const LongHadamard& memory,
                                     const Wave& wave) const {
        const float* magnitudes = memory.magnitudes + number - chunk;
        return Hadamard::scale(group.extent(wave.chunks(), [=](std::int64_t i) { return magnitudes[i]; }),
                               wave.padded);
    }
    __device__ Signs signs(const Task& task) const {
        return {task.stream(Purpose::rotation), static_cast<std::uint64_t>(begin)};
    }
};

static __global__ void __launch_bounds__(kBlockThreads)
    magnitudes_kernel(Task task, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Piece piece(task, memory, wave);
    const Extent extent = Hadamard::measure(group, task.in + piece.begin, piece.n);
    if (group.rank() == 0)
        memory.magnitudes[piece.number] = !extent.finite ? kNotANumber : piece.n > 0 ? extent.high : 0.0f;
}

/// Dynamic shared memory of this and the round: a chunk.
static __global__ void __launch_bounds__(kBlockThreads)
    rotate_kernel(Task task, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Piece piece(task, memory, wave);
    const Hadamard::Scale scale = piece.scale(group, memory, wave);
    if (!scale.finite) return;
    auto* y = qstep::cuda::dynamic_shared<float>();
    Hadamard::load(group, y, kChunk, task.in + piece.begin, piece.n, scale, piece.signs(task));
    group.barrier();
    group.walsh_hadamard(y, kChunk, 1);
    group.for_each(kChunk, [=](std::int64_t i) { piece.rotated[i] = y[i]; });
}

/// The stages h, 2h, ... kCount h / 2 of all vectors of a wave; h >= kChunk, so neighbours read neighbours.
template <int kCount>
__global__ void __launch_bounds__(kBlockThreads) columns_kernel(float* rotated, std::int64_t h) {
    const std::int64_t item = blockIdx.x * std::int64_t{kBlockThreads} + threadIdx.x;
    float* first = rotated + item / h * h * kCount + item % h;
    qstep::cuda::wait_for_predecessor();
    float y[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) y[i] = first[i * h];
    butterflies(y);
#pragma unroll
    for (int i = 0; i < kCount; ++i) first[i * h] = y[i];
}

static __global__ void __launch_bounds__(kBlockThreads)
    extents_kernel(Task task, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Piece piece(task, memory, wave);
    const Extent extent = Standard::measure(group, piece.rotated, kChunk);
    if (group.rank() != 0) return;
    memory.extents[2 * piece.number] = extent.low;
    memory.extents[2 * piece.number + 1] = extent.high;
}

/// Rounds, and begins to transform back or writes header and codes.
template <typename Sink>
__global__ void __launch_bounds__(kBlockThreads)
    round_rotated_kernel(Task task, Sink sink, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Piece piece(task, memory, wave);
    const float* extents = memory.extents + 2 * (piece.number - piece.chunk);
    const Extent extent = group.extent(2 * wave.chunks(), [=](std::int64_t i) { return extents[i]; });
    auto* y = qstep::cuda::dynamic_shared<float>();
    stage(group, y, piece.rotated, kChunk, true);
    const std::int64_t within = piece.chunk * kChunk;
    const Draws draws = task.draws().from(piece.bucket * memory.padded + within);
    Standard::Fit fit = Standard::fit_of(extent, wave.padded, task.parameters);
    double spread;
    if constexpr (Sink::kCodes) {
        const Hadamard::Scale scale = piece.scale(group, memory, wave);
        fit.finite = scale.finite;
        if (piece.chunk == 0)
            sink.put_header(piece.bucket, group.rank(), group.size(),
                            [&](std::int64_t i) { return Hadamard::header_word(scale, fit, i); });
        spread = sink.template round<Standard>(group, fit, piece.bucket, within, y, kChunk, draws);
    } else {
        spread = round_to_values<Standard>(group, fit, y, y, kChunk, draws);
        group.barrier();
        group.walsh_hadamard(y, kChunk, 1);
        group.for_each(kChunk, [=](std::int64_t i) { piece.rotated[i] = y[i]; });
    }
    if (group.rank() == 0) memory.spreads[piece.number] = spread;
}

/// y[0..n) = values of the codes from `within` on; a barrier behind.
__device__ inline void decode_rotated(const BlockGroup& group, const DeviceStream& stream,
                                      std::int64_t bucket, std::int64_t within, float* y, std::int64_t n) {
    const Standard::Decoder decoder(stream.header(bucket) + 1, stream.parameters);
    group.for_each((n + 7) / 8, [&](std::int64_t at) {
        const int count = n - 8 * at < 8 ? static_cast<int>(n - 8 * at) : 8;
        std::uint32_t index[8];
        stream.unpack(bucket, within + 8 * at, count, index);
        for (int c = 0; c < count; ++c) y[8 * at + c] = decoder.value(decoder.code(index[c]));
    });
    group.barrier();
}

/// Decodes and begins to transform back. Dynamic shared memory: a chunk.
static __global__ void __launch_bounds__(kBlockThreads)
    decode_rotated_kernel(Task task, DeviceStream stream, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Piece piece(task, memory, wave);
    const std::uint32_t* words = stream.header(piece.bucket);
    // All chunks of a bucket have its scale.
    if (group.rank() == 0)
        memory.magnitudes[piece.number] =
            words[0] == kNanWord ? kNotANumber : power_of(std::bit_cast<float>(words[0])).power;
    auto* y = qstep::cuda::dynamic_shared<float>();
    decode_rotated(group, stream, piece.bucket, piece.chunk * kChunk, y, kChunk);
    group.walsh_hadamard(y, kChunk, 1);
    group.for_each(kChunk, [=](std::int64_t i) { piece.rotated[i] = y[i]; });
}

/// The spread of the piece's bucket, where this is its first chunk.
__device__ inline void sum_spreads(const BlockGroup& group, const Piece& piece, const LongHadamard& memory,
                                   const Wave& wave, const Hadamard::Scale& scale) {
    if (piece.chunk != 0) return;
    const double* spreads = memory.spreads + piece.number;
    const double spread = group.sum_in_turn(wave.chunks(), [=](std::int64_t i) { return spreads[i]; });
    if (group.rank() == 0)
        memory.bucket_spreads[piece.bucket] =
            scale.finite ? spread * scale.variance : std::numeric_limits<double>::quiet_NaN();
}

/// The rest of the way to the elements, unless codes were written; and the bucket's spread, unless it was
/// decoded and `memory` has none.
template <typename Sink>
__global__ void __launch_bounds__(kBlockThreads)
    store_rotated_kernel(Task task, Sink stored_sink, LongHadamard memory, Wave wave) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const Piece piece(task, memory, wave);
    const Hadamard::Scale scale = piece.scale(group, memory, wave);
    if constexpr (!Sink::kCodes) {
        if (scale.finite)
            Hadamard::store(group, sink.to(piece.begin), piece.rotated, piece.n, scale, piece.signs(task));
        else
            Hadamard::fill_not_a_number(group, sink.to(piece.begin), piece.n);
    }
    if (memory.spreads != nullptr) sum_spreads(group, piece, memory, wave, scale);
}

inline void launch_columns(Context& context, const LongHadamard& memory, const Wave& wave) {
    const std::int64_t elements = wave.count * wave.padded;
    for (std::int64_t h = kChunk; h < wave.padded;) {
        const std::int64_t left = wave.padded / h, count = left >= 8 ? 8 : left;
        const auto kernel = count == 8   ? columns_kernel<8>
                            : count == 4 ? columns_kernel<4>
                                         : columns_kernel<2>;
        qstep::cuda::launch(context, "hadamard columns", kernel,
                            {elements / count / kBlockThreads, kBlockThreads}, memory.rotated, h);
        h *= count;
    }
}

template <typename Sink>
void launch_wave(Context& context, const Task& task, const Sink& sink, const LongHadamard& memory,
                 const Wave& wave) {
    using qstep::cuda::launch;
    const qstep::cuda::LaunchShape plain{wave.count * wave.chunks(), kBlockThreads};
    const qstep::cuda::LaunchShape staged{plain.blocks, plain.threads,
                                          static_cast<std::size_t>(staged_bytes(kChunk))};
    launch(context, "hadamard magnitudes", magnitudes_kernel, plain, task, memory, wave);
    launch(context, "hadamard rotate", rotate_kernel, staged, task, memory, wave);
    launch_columns(context, memory, wave);
    launch(context, "hadamard range", extents_kernel, plain, task, memory, wave);
    launch(context, "hadamard round", round_rotated_kernel<Sink>, staged, task, sink, memory, wave);
    if constexpr (!Sink::kCodes) launch_columns(context, memory, wave);
    launch(context, "hadamard store", store_rotated_kernel<Sink>, plain, task, sink, memory, wave);
}

inline void launch_decode_wave(Context& context, const Task& task, const DeviceStream& stream,
                               const StoreSink& sink, LongHadamard memory, const Wave& wave) {
    using qstep::cuda::launch;
    const qstep::cuda::LaunchShape plain{wave.count * wave.chunks(), kBlockThreads};
    memory.spreads = nullptr;
    launch(context, "decode hadamard", decode_rotated_kernel,
           {plain.blocks, plain.threads, static_cast<std::size_t>(kChunk) * sizeof(float)}, task, stream,
           memory, wave);
    launch_columns(context, memory, wave);
    launch(context, "hadamard store", store_rotated_kernel<StoreSink>, plain, task, sink, memory, wave);
}

}  // namespace qstep::quant::cuda

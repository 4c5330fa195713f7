// Buckets that a thread block works on through BlockGroup: whole ones up to kChunk elements, held in shared
// memory from the first read to the last; and longer ones chunk by chunk, in three launches: measure all
// chunks, fit all buckets, round all chunks.
//
// Whole: 8 bytes an element (20 with an update). Longer: 12 (24), so 64 M elements take 187 us at 4.3 TB/s.
#pragma once

#include "quant/algorithm.h"
#include "quant/cuda/block_group.cuh"
#include "quant/cuda/code_sink.cuh"
#include "quant/cuda/sinks.cuh"
#include "quant/cuda/task.cuh"

namespace qstep::quant::cuda {

/// Chunks are worked on by as many threads as a sum has lanes.
constexpr int kBlockThreads = static_cast<int>(kSumLanes);

/// Copies x[0..n) to shared memory, 16 bytes a thread where they are aligned; a barrier behind.
__device__ inline void stage(const BlockGroup& group, float* to, const float* x, std::int64_t n,
                             bool aligned) {
    using qstep::cuda::detail::load_16_bytes;
    using qstep::cuda::detail::store_16_bytes;
    const std::int64_t quads = aligned ? n / 4 : 0;
    group.for_each(quads, [=](std::int64_t i) { store_16_bytes(to + 4 * i, load_16_bytes(x + 4 * i)); });
    group.for_each(n - 4 * quads, [=](std::int64_t i) { to[4 * quads + i] = x[4 * quads + i]; });
    group.barrier();
}

/// Bytes of n floats, so that doubles may follow.
inline QSTEP_HOST_DEVICE std::int64_t staged_bytes(std::int64_t n) {
    return (n * 4 + 15) / 16 * 16;
}

/// Writes one spread a bucket. Dynamic shared memory: a bucket and, if kFitInShared, the memory of one fit;
/// else block b has `scratch` + b * scratch_stride.
template <typename Algorithm, bool kFitInShared, int kThreads, int kBlocks, typename Sink>
__global__ void __launch_bounds__(kThreads, kBlocks)
    whole_buckets_kernel(Task task, Sink stored_sink, double* spreads, char* scratch,
                         std::int64_t scratch_stride) {
    QSTEP_SHARED BlockGroup::Storage storage;
    QSTEP_SHARED typename Algorithm::Fit fit;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const Draws draws = task.draws();
    char* shared = qstep::cuda::dynamic_shared<char>();
    auto* x = reinterpret_cast<float*>(shared);
    for (std::int64_t bucket = blockIdx.x; bucket < task.buckets.count(); bucket += gridDim.x) {
        const std::int64_t begin = task.buckets.begin(bucket), n = task.buckets.length(bucket);
        stage(group, x, task.in + begin, n, task.vectors && begin % 4 == 0);
        const auto measure = Algorithm::measure(group, x, n);
        // Told apart at compile time, so that the compiler knows which memory it is.
        if constexpr (kFitInShared)
            Algorithm::fit(group, fit, measure, x, n,
                           task.fit_context(bucket, shared + staged_bytes(task.buckets.size)));
        else
            Algorithm::fit(group, fit, measure, x, n,
                           task.fit_context(bucket, scratch + blockIdx.x * scratch_stride));
        group.barrier();
        const double spread =
            round_into<Algorithm>(group, fit, sink, bucket, 0, begin, x, n, draws.from(begin));
        group.barrier();
        if (group.rank() == 0) spreads[bucket] = spread;
    }
}

template <typename Algorithm>
__global__ void __launch_bounds__(kBlockThreads)
    measure_chunks_kernel(Task task, typename Algorithm::Measure* measures) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const std::int64_t chunk = blockIdx.x, n = task.buckets.chunk_length(chunk);
    const auto measure = Algorithm::measure(group, task.in + task.buckets.chunk_begin(chunk), n > 0 ? n : 0);
    if (group.rank() == 0) measures[chunk] = measure;
}

/// Block b has `scratch` + b * scratch_stride.
template <typename Algorithm>
__global__ void __launch_bounds__(kBlockThreads)
    fit_buckets_kernel(Task task, const typename Algorithm::Measure* measures, typename Algorithm::Fit* fits,
                       char* scratch, std::int64_t scratch_stride) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const std::int64_t per_bucket = task.buckets.chunks_per_bucket();
    for (std::int64_t bucket = blockIdx.x; bucket < task.buckets.count(); bucket += gridDim.x) {
        const auto* of_bucket = measures + bucket * per_bucket;
        auto measure = of_bucket[0];
#pragma unroll 8
        for (std::int64_t i = 1; i < per_bucket; ++i)
            measure = Algorithm::merge_measures(measure, of_bucket[i]);
        Algorithm::fit(group, fits[bucket], measure, task.in + task.buckets.begin(bucket),
                       task.buckets.length(bucket),
                       task.fit_context(bucket, scratch + blockIdx.x * scratch_stride));
        group.barrier();  // a fit need not wait at its end, and the next one takes its memory
    }
}

/// Writes one spread a chunk, 0 for chunks that the last bucket does not have. Dynamic shared memory: a
/// chunk.
template <typename Algorithm, typename Sink>
__global__ void __launch_bounds__(kBlockThreads)
    round_chunks_kernel(Task task, Sink stored_sink, const typename Algorithm::Fit* fits, double* spreads) {
    QSTEP_SHARED BlockGroup::Storage storage;
    QSTEP_SHARED typename Algorithm::Fit fit;
    static_assert(sizeof(fit) % 4 == 0);
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const std::int64_t chunk = blockIdx.x, begin = task.buckets.chunk_begin(chunk),
                       n = task.buckets.chunk_length(chunk);
    if (n <= 0) {
        if (group.rank() == 0) spreads[chunk] = 0;
        return;
    }
    const std::int64_t per_bucket = task.buckets.chunks_per_bucket();
    const auto* from = reinterpret_cast<const std::uint32_t*>(fits + chunk / per_bucket);
    auto* to = reinterpret_cast<std::uint32_t*>(&fit);
    group.for_each(sizeof(fit) / 4, [=](std::int64_t i) { to[i] = from[i]; });
    auto* x = qstep::cuda::dynamic_shared<float>();
    stage(group, x, task.in + begin, n, task.vectors && begin % 4 == 0);
    const double spread =
        round_into<Algorithm>(group, fit, sink, chunk / per_bucket, chunk % per_bucket * kChunk, begin, x, n,
                              task.draws().from(begin));
    if (group.rank() == 0) spreads[chunk] = spread;
}

/// Memory of the three launches, cut from the workspace.
template <typename Algorithm>
struct LongBuckets {
    double* spreads;
    typename Algorithm::Fit* fits;
    typename Algorithm::Measure* measures;
    char* scratch;

    static std::int64_t bytes(const Buckets& buckets, std::int64_t scratch) {
        const LongBuckets end = at(nullptr, buckets);
        return end.scratch - static_cast<char*>(nullptr) + scratch;
    }
    static LongBuckets at(void* memory, const Buckets& buckets) {
        const auto take = [&memory](auto*& part, std::int64_t count) {
            part = static_cast<std::remove_reference_t<decltype(part)>>(memory);
            memory = static_cast<char*>(memory) +
                     (count * static_cast<std::int64_t>(sizeof(*part)) + 15) / 16 * 16;
        };
        LongBuckets parts;
        take(parts.spreads, buckets.chunks());
        take(parts.fits, buckets.count());
        take(parts.measures, buckets.chunks());
        parts.scratch = static_cast<char*>(memory);
        return parts;
    }
};

/// fitters: blocks that fit, each with scratch_stride bytes of scratch. Fitter: Algorithm, or one that fits
/// in another way.
template <typename Algorithm, typename Fitter = Algorithm, typename Sink>
void launch_long_buckets(Context& context, const char* name, const Task& task, const Sink& sink,
                         const LongBuckets<Algorithm>& memory, std::int64_t fitters,
                         std::int64_t scratch_stride) {
    using qstep::cuda::launch;
    const std::int64_t chunks = task.buckets.chunks();
    launch(context, name, measure_chunks_kernel<Algorithm>, {chunks, kBlockThreads}, task, memory.measures);
    launch(context, name, fit_buckets_kernel<Fitter>, {fitters, kBlockThreads}, task, memory.measures,
           memory.fits, memory.scratch, scratch_stride);
    launch(context, name, round_chunks_kernel<Algorithm, Sink>,
           {chunks, kBlockThreads, static_cast<std::size_t>(staged_bytes(kChunk))}, task, sink, memory.fits,
           memory.spreads);
}

}  // namespace qstep::quant::cuda

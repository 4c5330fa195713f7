// Hadamard: in registers up to a bucket of kMaxTileSlots elements, in a block's shared memory up to kChunk,
// in waves beyond.
//
// 8 bytes an element up to kChunk; 64 M elements take 125 us at 4.3 TB/s.
#include "quant/hadamard.h"

#include "quant/cuda/codecs.h"
#include "quant/cuda/hadamard_long.cuh"
#include "quant/cuda/hadamard_tile.cuh"
#include "quant/cuda/sink_codec.cuh"
#include "quant/cuda/small_buckets.cuh"

namespace qstep::quant::cuda {

namespace {

template <typename Tile, typename Sink>
__global__ void __launch_bounds__(kTileThreads<Tile>, kTileBlocks<Tile>)
    small_hadamard_kernel(Task task, Sink stored_sink, std::int64_t padded, double* run_spreads) {
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const Draws draws = task.draws();
    if constexpr (kWholeTiles<Tile, Sink>)
        if (fills_tiles<Tile>(task, sink))
            return with_table<Standard, Tile>(task, [&](const auto& table) {
                for_each_in_run<Tile::kThreads>(task.buckets, run_spreads, [&](std::int64_t bucket, bool) {
                    constexpr int kCapacity = Tile::kCapacity;
                    const AllSlots<kCapacity> slots{bucket * kCapacity};
                    const TileBucket<AllSlots<kCapacity>> whole{bucket, slots, kCapacity, slots.base};
                    return rotate_and_quantize<Tile>(task, draws, sink, whole, table);
                });
            });
    for_each_in_run<Tile::kThreads>(task.buckets, run_spreads, [&](std::int64_t bucket, bool exists) {
        const int n = exists ? static_cast<int>(task.buckets.length(bucket)) : 0;
        const Slots slots{exists ? task.buckets.begin(bucket) : 0, 0, n};
        const int length = static_cast<int>(StreamLayout::padded_to(n));
        return rotate_and_quantize<Tile>(
            task, draws, sink, TileBucket<Slots>{bucket, slots, length, exists ? bucket * padded : 0});
    });
}

/// The bucket's header and codes; y: [padded], shared memory of the block. Returns the spread.
__device__ inline double encode_whole(BlockGroup& group, const CodeSink& sink, const Task& task,
                                      std::int64_t bucket, float* y, std::int64_t padded, const Draws& draws,
                                      const Signs& signs) {
    const float* x = task.in + task.buckets.begin(bucket);
    const std::int64_t n = task.buckets.length(bucket);
    const Hadamard::Scale scale = Hadamard::scale(Hadamard::measure(group, x, n), padded);
    Standard::Fit fit{};
    if (scale.finite) fit = Hadamard::rotate(group, x, n, y, padded, task.parameters, scale, signs);
    fit.finite = scale.finite;
    sink.put_header(bucket, group.rank(), group.size(),
                    [&](std::int64_t i) { return Hadamard::header_word(scale, fit, i); });
    return sink.round<Standard>(group, fit, bucket, 0, y, padded, draws) * scale.variance;
}

/// A block a bucket, the first of which is `first`. Dynamic shared memory: a padded bucket.
template <typename Sink>
__global__ void __launch_bounds__(kBlockThreads)
    whole_hadamard_kernel(Task task, Sink stored_sink, std::int64_t padded, std::int64_t first,
                          double* spreads) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const std::int64_t bucket = first + blockIdx.x, begin = task.buckets.begin(bucket),
                       n = task.buckets.length(bucket);
    const Signs signs{task.stream(Purpose::rotation), static_cast<std::uint64_t>(begin)};
    const Draws draws = task.draws().from(bucket * padded);
    const std::int64_t length = StreamLayout::padded_to(n);
    auto* y = qstep::cuda::dynamic_shared<float>();
    double spread;
    if constexpr (Sink::kCodes)
        spread = encode_whole(group, sink, task, bucket, y, length, draws, signs);
    else
        spread = Hadamard::quantize(group, sink.to(begin), task.in + begin, n, y, length, task.parameters,
                                    draws, signs);
    if (group.rank() == 0) spreads[bucket] = spread;
}

/// A block a bucket, the first of which is `first`. Dynamic shared memory: a padded bucket.
__global__ void __launch_bounds__(kBlockThreads)
    decode_whole_kernel(Task task, DeviceStream stream, std::int64_t first, float* out) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    qstep::cuda::wait_for_predecessor();
    const std::int64_t bucket = first + blockIdx.x, begin = task.buckets.begin(bucket),
                       n = task.buckets.length(bucket), padded = stream.layout.codes(bucket);
    const Hadamard::Scale scale = Hadamard::scale_from(stream.header(bucket), padded);
    if (!scale.finite) {
        Hadamard::fill_not_a_number(group, out + begin, n);
        return;
    }
    auto* y = qstep::cuda::dynamic_shared<float>();
    decode_rotated(group, stream, bucket, 0, y, padded);
    group.walsh_hadamard(y, padded, 1);
    const Signs signs{task.stream(Purpose::rotation), static_cast<std::uint64_t>(begin)};
    Hadamard::store(group, out + begin, y, n, scale, signs);
}

class HadamardCodec : public SinkCodec<HadamardCodec> {
    friend SinkCodec<HadamardCodec>;

  public:
    HadamardCodec(Context& context, const CodecSettings& settings, std::int64_t count)
        : SinkCodec(context, settings, {count, settings.bucket_size}),
          padded_(StreamLayout::padded_to(buckets().size)) {
        wave_ = std::clamp<std::int64_t>(kWaveElements / padded_, 1, buckets().count());
        std::int64_t bytes = 0;
        long_memory(nullptr, &bytes);
        context.workspace().reserve(static_cast<std::size_t>(bytes), Hadamard::kRemedy);
    }

  private:
    /// 32 MiB of floats.
    static constexpr std::int64_t kWaveElements = std::int64_t{1} << 23;
    /// Of a tile that takes any bucket's quads.
    static constexpr std::int64_t kLeastSlots = 128;

    /// Parts of `memory`; their size to *bytes. Small buckets need their spreads alone.
    LongHadamard long_memory(char* memory, std::int64_t* bytes) const {
        std::int64_t used = 0;
        const auto take = [&]<typename T>(T*& part, std::int64_t count) {
            part = reinterpret_cast<T*>(memory + used);
            used += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
        };
        const bool small = buckets().small();
        const std::int64_t chunks = small ? 0 : padded_ / kChunk, all = buckets().count() * chunks;
        LongHadamard parts{};
        parts.padded = padded_;
        parts.chunks = chunks;
        take(parts.bucket_spreads, buckets().count());
        take(parts.spreads, all);
        take(parts.magnitudes, all);
        take(parts.extents, 2 * all);
        take(parts.rotated, small ? 0 : wave_ * padded_);
        *bytes = used;
        return parts;
    }

    template <typename Sink>
    void run(Context& context, const Task& task, const Sink& sink, const Tensor& variance) {
        const Buckets& buckets = task.buckets;
        std::int64_t bytes = 0;
        long_memory(nullptr, &bytes);
        void* workspace = context.workspace().lend(static_cast<std::size_t>(bytes));
        const LongHadamard memory = long_memory(static_cast<char*>(workspace), &bytes);
        double* spreads = memory.bucket_spreads;
        if (padded_ <= kMaxTileSlots) {
            in_registers(context, task, sink, spreads);
            return write_total(context, spreads, buckets.runs(), 1, variance);
        }
        if (buckets.small()) {
            whole_buckets(context, task, sink, spreads, 0, buckets.count());
            return write_total(context, spreads, buckets.count(), buckets.buckets_per_run(), variance);
        }
        for_each_wave([&](const Wave& wave) { launch_wave(context, task, sink, memory, wave); },
                      [&](std::int64_t bucket) { whole_buckets(context, task, sink, spreads, bucket, 1); });
        write_total(context, spreads, buckets.count(), 1, variance);
    }

    template <typename Sink>
    void in_registers(Context& context, const Task& task, const Sink& sink, double* run_spreads) {
        // The smallest tiles are for buckets of a few elements, of which there are not many to gain here.
        with_tile_for(std::max<std::int64_t>(padded_, kLeastSlots), [&](auto* tile) {
            using Tile = std::remove_pointer_t<decltype(tile)>;
            if constexpr (Tile::kCapacity >= kLeastSlots)
                qstep::cuda::launch(context, "hadamard", small_hadamard_kernel<Tile, Sink>,
                                    run_shape<Tile, Sink>(task.buckets), task, sink, padded_, run_spreads);
        });
    }

    template <typename Sink>
    void whole_buckets(Context& context, const Task& task, const Sink& sink, double* spreads,
                       std::int64_t first, std::int64_t count) {
        const std::int64_t floats = std::min(padded_, kChunk);
        qstep::cuda::launch(context, "hadamard", whole_hadamard_kernel<Sink>,
                            {count, kBlockThreads, static_cast<std::size_t>(floats) * sizeof(float)}, task,
                            sink, padded_, first, spreads);
    }

    /// launch(wave) for the buckets beyond a chunk; whole(bucket) for a last one that is not.
    template <typename Launch, typename Whole>
    void for_each_wave(const Launch& launch, const Whole& whole_bucket) {
        const std::int64_t last = buckets().count() - 1,
                           last_padded = StreamLayout::padded_to(buckets().length(last));
        const std::int64_t whole = last_padded == padded_ ? last + 1 : last;
        for (std::int64_t first = 0; first < whole; first += wave_)
            launch(Wave{first, std::min(wave_, whole - first), padded_});
        if (whole > last) return;
        if (last_padded <= kChunk)
            whole_bucket(last);
        else
            launch(Wave{last, 1, last_padded});
    }

    void decode_stream(Context& context, const Task& task, const DeviceStream& stream, float* out) {
        const auto decode_whole = [&](std::int64_t first, std::int64_t count) {
            const std::size_t bytes = static_cast<std::size_t>(std::min(padded_, kChunk)) * sizeof(float);
            qstep::cuda::launch(context, "decode hadamard", decode_whole_kernel,
                                {count, kBlockThreads, bytes}, task, stream, first, out);
        };
        if (buckets().small()) return decode_whole(0, buckets().count());
        std::int64_t bytes = 0;
        long_memory(nullptr, &bytes);
        void* workspace = context.workspace().lend(static_cast<std::size_t>(bytes));
        const LongHadamard memory = long_memory(static_cast<char*>(workspace), &bytes);
        for_each_wave(
            [&](const Wave& wave) {
                launch_decode_wave(context, task, stream, StoreSink(out), memory, wave);
            },
            [&](std::int64_t bucket) { decode_whole(bucket, 1); });
    }

    std::int64_t padded_;  // of a whole bucket
    std::int64_t wave_ = 1;
};

}  // namespace

std::unique_ptr<GradientCodec> make_hadamard(Context& context, const CodecSettings& settings,
                                             std::int64_t count) {
    return std::make_unique<HadamardCodec>(context, settings, count);
}

}  // namespace qstep::quant::cuda

// The codec of an algorithm that needs no scratch memory: chooses how its buckets are worked on by their
// size, and whether the algorithm is a Formula, which registers can hold.
#pragma once

#include <type_traits>

#include "quant/algorithm.h"
#include "quant/cuda/block_buckets.cuh"
#include "quant/cuda/codecs.h"
#include "quant/cuda/sink_codec.cuh"
#include "quant/cuda/small_buckets.cuh"

namespace qstep::quant::cuda {

template <typename Algorithm>
class BucketCodec : public SinkCodec<BucketCodec<Algorithm>> {
    using Base = SinkCodec<BucketCodec<Algorithm>>;
    friend Base;

  public:
    BucketCodec(Context& context, const CodecSettings& settings, std::int64_t count)
        : Base(context, settings, {count, settings.bucket_size}) {
        context.workspace().reserve(workspace_bytes());
    }

  private:
    static constexpr bool kFormula = std::is_base_of_v<Formula<Algorithm>, Algorithm>;

    bool in_registers() const { return kFormula && tile_slots(this->buckets()) <= kMaxTileSlots; }

    std::size_t workspace_bytes() const {
        const Buckets& buckets = this->buckets();
        if (!buckets.small()) return static_cast<std::size_t>(LongBuckets<Algorithm>::bytes(buckets, 0));
        const std::int64_t spreads = in_registers() ? buckets.runs() : buckets.count();
        return static_cast<std::size_t>(spreads) * sizeof(double);
    }

    void decode_stream(Context& context, const Task&, const DeviceStream& stream, float* out) {
        launch_decode<Algorithm>(context, name_of(this->settings().kind), stream, out);
    }

    template <typename Sink>
    void run(Context& context, const Task& task, const Sink& sink, const Tensor& variance) {
        const char* name = name_of(this->settings().kind);
        const Buckets& buckets = task.buckets;
        void* memory = context.workspace().lend(workspace_bytes());
        auto* spreads = static_cast<double*>(memory);
        if (!buckets.small()) {
            const auto parts = LongBuckets<Algorithm>::at(memory, buckets);
            launch_long_buckets(context, name, task, sink, parts, buckets.count(), 0);
            return write_total(context, parts.spreads, buckets.chunks(), 1, variance);
        }
        if constexpr (kFormula)
            if (in_registers()) {
                launch_small_buckets<Algorithm>(context, name, task, sink, spreads);
                return write_total(context, spreads, buckets.runs(), 1, variance);
            }
        char* no_scratch = nullptr;
        qstep::cuda::launch(
            context, name, whole_buckets_kernel<Algorithm, false, kBlockThreads, 4, Sink>,
            {buckets.count(), kBlockThreads, static_cast<std::size_t>(staged_bytes(buckets.size))}, task,
            sink, spreads, no_scratch, 0);
        write_total(context, spreads, buckets.count(), buckets.buckets_per_run(), variance);
    }
};

template <typename Algorithm>
std::unique_ptr<GradientCodec> make_formula(Context& context, const CodecSettings& settings,
                                            std::int64_t count) {
    return std::make_unique<BucketCodec<Algorithm>>(context, settings, count);
}

}  // namespace qstep::quant::cuda

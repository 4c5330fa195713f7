// Smart: a block samples a bucket, sorts the sample, finds the points by dynamic programming and rounds.
//
// A bucket of 512 elements and 16 levels takes 13 layers, a barrier apart. What a fit needs lies in shared
// memory where it fits into kMostShared bytes, a histogram's 32 KB with any whole bucket at 16 levels; else
// every block has its share of the workspace, and takes one bucket after another.
//
// 8 bytes an element: 64 M elements could move in 125 us at 4.3 TB/s, but the fit takes 40 times that. A
// bucket of 512 with all its elements, in instructions of a warp of sm_90: the 13 layers compare some 2,000
// lines each, at two fused multiply-adds and a comparison of doubles and three selections a line; with loads,
// bounds and the threads that wait for a neighbour's longer range 25,500. Bounding the points takes 5,100,
// sorting 2,700, preparing and rounding 3,400: 5 ms for 131,072 buckets on 132 multiprocessors at 1.83 GHz.
// Of the 533 buckets of ResNet-20 a multiprocessor has four or five: 25 to 32 us. Buckets of 51200 and a
// sample of 512: the same fit, a hundredth as often.
#include "quant/smart.h"

#include "quant/cuda/block_buckets.cuh"
#include "quant/cuda/codecs.h"
#include "quant/cuda/sink_codec.cuh"
#include "quant/histogram.h"

namespace qstep::quant::cuda {

namespace {

/// Half of what a multiprocessor has, so that two blocks share one at least.
constexpr std::int64_t kMostShared = 96 << 10;
/// Two blocks for every multiprocessor of a large GPU, as long as their scratch memory is affordable.
constexpr std::int64_t kMostFitters = 264;
constexpr std::int64_t kMostScratch = kMostSmartScratch;

/// Threads that fit a whole bucket, and the blocks a multiprocessor has shared memory for at 512 candidates.
/// Where the fit lies elsewhere and addresses take more registers, fewer.
constexpr int kFitThreads = 128, kFitBlocks = 5, kFewFitBlocks = 4;

/// Choices of two bytes: with 16 levels and 512 candidates a fit takes 38 KB instead of 53.
struct NarrowSmart : Smart {
    static constexpr std::int64_t kMostValues = 65536;

    template <typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit, const Extent& extent, const float* x,
                                      std::int64_t n, const FitContext& context) {
        Smart::fit<std::uint16_t>(group, fit, extent, x, n, context);
    }
};

std::int64_t rounded(std::int64_t bytes) {
    return (bytes + 63) / 64 * 64;
}

class SmartCodec : public SinkCodec<SmartCodec> {
    friend SinkCodec<SmartCodec>;

  public:
    SmartCodec(Context& context, const CodecSettings& settings, std::int64_t count)
        : SinkCodec(context, settings, {count, settings.bucket_size}),
          counts_(settings.solver == Solver::histogram),
          candidates_(candidates_of(buckets().size)),
          narrow_(candidates_ + 2 <= NarrowSmart::kMostValues) {
        fit_bytes_ = rounded(counts_   ? SmartHistogram::scratch_bytes(settings.levels)
                             : narrow_ ? Smart::scratch_bytes<std::uint16_t>(candidates_, settings.levels)
                                       : Smart::scratch_bytes<>(candidates_, settings.levels));
        check_smart_scratch(fit_bytes_, candidates_, settings);
        const std::int64_t staged = buckets().small() ? staged_bytes(buckets().size) : 0;
        in_shared_ = buckets().small() && staged + fit_bytes_ <= kMostShared;
        fitters_ =
            std::clamp<std::int64_t>(std::min(kMostScratch / fit_bytes_, kMostFitters), 1, buckets().count());
        context.workspace().reserve(workspace_bytes(), Smart::kRemedy);
    }

  private:
    std::int64_t candidates_of(std::int64_t n) const {
        return Smart::candidates_of(settings().solver)(n, settings().smart_candidates_percent);
    }
    std::int64_t spreads_bytes() const { return rounded(buckets().count() * std::int64_t{sizeof(double)}); }
    std::size_t workspace_bytes() const {
        const std::int64_t scratch = in_shared_ ? 0 : fitters_ * fit_bytes_;
        const std::int64_t bytes =
            buckets().small() ? spreads_bytes() + scratch : LongBuckets<Smart>::bytes(buckets(), scratch);
        return static_cast<std::size_t>(bytes);
    }

    void decode_stream(Context& context, const Task&, const DeviceStream& stream, float* out) {
        launch_decode<Smart>(context, "smart", stream, out);
    }

    template <typename Sink>
    void run(Context& context, Task task, const Sink& sink, const Tensor& variance) {
        task.candidates = candidates_;
        task.last_candidates = candidates_of(task.buckets.length(task.buckets.count() - 1));
        auto* memory = static_cast<char*>(context.workspace().lend(workspace_bytes()));
        if (task.buckets.small())
            return counts_ ? whole_buckets<SmartHistogram>(context, task, sink, variance, memory)
                           : whole_buckets<NarrowSmart>(context, task, sink, variance, memory);
        const auto parts = LongBuckets<Smart>::at(memory, task.buckets);
        if (counts_)
            launch_long_buckets<Smart, SmartHistogram>(context, "smart", task, sink, parts, fitters_,
                                                       fit_bytes_);
        else if (narrow_)
            launch_long_buckets<Smart, NarrowSmart>(context, "smart", task, sink, parts, fitters_,
                                                    fit_bytes_);
        else
            launch_long_buckets<Smart>(context, "smart", task, sink, parts, fitters_, fit_bytes_);
        write_total(context, parts.spreads, task.buckets.chunks(), 1, variance);
    }

    /// A bucket is at most a chunk here, so its candidates are few enough for narrow choices.
    template <typename Fitter, typename Sink>
    void whole_buckets(Context& context, const Task& task, const Sink& sink, const Tensor& variance,
                       char* memory) {
        auto* spreads = reinterpret_cast<double*>(memory);
        const std::int64_t staged = staged_bytes(task.buckets.size);
        const std::int64_t shared = staged + (in_shared_ ? fit_bytes_ : 0);
        char* scratch = in_shared_ ? nullptr : memory + spreads_bytes();
        const std::int64_t blocks = in_shared_ ? task.buckets.count() : fitters_;
        const auto kernel = in_shared_
                                ? whole_buckets_kernel<Fitter, true, kFitThreads, kFitBlocks, Sink>
                                : whole_buckets_kernel<Fitter, false, kFitThreads, kFewFitBlocks, Sink>;
        qstep::cuda::launch(context, "smart", kernel, {blocks, kFitThreads, static_cast<std::size_t>(shared)},
                            task, sink, spreads, scratch, fit_bytes_);
        write_total(context, spreads, task.buckets.count(), task.buckets.buckets_per_run(), variance);
    }

    bool counts_;  // makes histograms
    std::int64_t candidates_;
    bool narrow_;
    std::int64_t fit_bytes_ = 0;
    bool in_shared_ = false;
    std::int64_t fitters_ = 1;
};

}  // namespace

std::unique_ptr<GradientCodec> make_smart(Context& context, const CodecSettings& settings,
                                          std::int64_t count) {
    return std::make_unique<SmartCodec>(context, settings, count);
}

}  // namespace qstep::quant::cuda

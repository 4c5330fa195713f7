// Launches a bucket algorithm over all buckets with OpenMP.
//
// Runs of small buckets are independent. Longer buckets are taken a wave at a time: all chunks are measured,
// every bucket is fitted, all chunks are rounded, while the wave is still in the cache. What is added up is
// added in an order that knows nothing of threads.
#pragma once

#include <omp.h>

#include <vector>

#include "quant/algorithm.h"
#include "quant/buckets.h"
#include "quant/codec.h"
#include "quant/cpu/codes.h"
#include "quant/cpu/isa.h"
#include "quant/cpu/simd_group.h"
#include "quant/stream.h"

namespace qstep::quant::cpu {

/// An algorithm's steps, compiled for one instruction set.
template <typename Algorithm>
struct BucketKernels {
    typename Algorithm::Measure (*measure)(const float* x, std::int64_t n);
    void (*fit)(typename Algorithm::Fit& fit, const typename Algorithm::Measure& measure, const float* x,
                std::int64_t n, const FitContext& context);
    /// past_caches: results go to memory without being read into the caches first (SimdGroupOf::stream).
    double (*round)(const typename Algorithm::Fit& fit, float* out, const float* x, std::int64_t n,
                    const Draws& draws, bool past_caches);
    double (*encode)(const typename Algorithm::Fit& fit, std::uint8_t* to, int bits, const float* x,
                     std::int64_t n, const Draws& draws);
    bool (*decode)(float* out, std::int64_t n, const std::uint32_t* words, const Parameters& parameters,
                   const std::uint8_t* from, int bits);
};

/// round_to_values() of a chunk. past_caches: as BucketKernels.
template <typename Algorithm, typename Group>
inline double round_chunk(Group& group, const typename Algorithm::Fit& fit, float* out, const float* x,
                          std::int64_t n, const Draws& draws, bool past_caches) {
    if (!past_caches) return round_to_values<Algorithm>(group, fit, out, x, n, draws);
    alignas(64) float values[kChunk];
    const double spread = round_to_values<Algorithm>(group, fit, values, x, n, draws);
    group.stream(out, values, n);
    return spread;
}

/// Defines the steps of `Algorithm` but rounding for one instruction set.
#define QSTEP_BUCKET_VARIANT(isa, attributes)                                                             \
    attributes Algorithm::Measure measure_##isa(const float* x, std::int64_t n) {                         \
        SimdGroupOf<Isa::isa> group;                                                                      \
        return Algorithm::measure(group, x, n);                                                           \
    }                                                                                                     \
    attributes void fit_##isa(Algorithm::Fit& fit, const Algorithm::Measure& measure, const float* x,     \
                              std::int64_t n, const FitContext& context) {                                \
        SimdGroupOf<Isa::isa> group;                                                                      \
        Algorithm::fit(group, fit, measure, x, n, context);                                               \
    }                                                                                                     \
    attributes double encode_##isa(const Algorithm::Fit& fit, std::uint8_t* to, int bits, const float* x, \
                                   std::int64_t n, const Draws& draws) {                                  \
        SimdGroupOf<Isa::isa> group;                                                                      \
        return encode_chunk<Algorithm>(group, fit, to, bits, x, n, draws);                                \
    }                                                                                                     \
    attributes bool decode_##isa(float* out, std::int64_t n, const std::uint32_t* words,                  \
                                 const Parameters& parameters, const std::uint8_t* from, int bits) {      \
        SimdGroupOf<Isa::isa> group;                                                                      \
        return decode_chunk<Algorithm>(group, out, n, words, parameters, from, bits);                     \
    }
/// And rounding.
#define QSTEP_ROUND_VARIANT(isa, attributes)                                                             \
    attributes double round_##isa(const Algorithm::Fit& fit, float* out, const float* x, std::int64_t n, \
                                  const Draws& draws, bool past_caches) {                                \
        SimdGroupOf<Isa::isa> group;                                                                     \
        return round_chunk<Algorithm>(group, fit, out, x, n, draws, past_caches);                        \
    }
/// Defines `BucketKernels<Algorithm> kernels_for(Isa)` where rounding is there.
#define QSTEP_BUCKET_KERNELS_BUT_ROUNDING()                                                        \
    QSTEP_FOR_EACH_ISA(QSTEP_BUCKET_VARIANT)                                                       \
    BucketKernels<Algorithm> kernels_for(Isa isa) {                                                \
        switch (isa) {                                                                             \
            case Isa::avx512:                                                                      \
                return {measure_avx512, fit_avx512, round_avx512, encode_avx512, decode_avx512};   \
            case Isa::avx2:                                                                        \
                return {measure_avx2, fit_avx2, round_avx2, encode_avx2, decode_avx2};             \
            case Isa::baseline:                                                                    \
                break;                                                                             \
        }                                                                                          \
        return {measure_baseline, fit_baseline, round_baseline, encode_baseline, decode_baseline}; \
    }
#define QSTEP_BUCKET_KERNELS()              \
    QSTEP_FOR_EACH_ISA(QSTEP_ROUND_VARIANT) \
    QSTEP_BUCKET_KERNELS_BUT_ROUNDING()

/// What the phases of one quantize() call share.
struct Call {
    float* out;
    const float* in;
    std::uint32_t step;
    Draws draws;
    int threads;
    char* scratch;
    /// Whether results leave the caches before anybody could read them.
    bool past_caches = false;
};

/// Checks the arguments of quantize() and gathers them.
Call begin_call(Context& context, const CodecSettings& settings, std::int64_t count, const Tensor& out,
                const Tensor& in, const Tensor& step, const Tensor& variance);

/// The stream of encode() or decode(): where it is and what is in it.
struct StreamCall {
    std::uint8_t* bytes;
    StreamLayout layout;
    Parameters parameters;
    std::uint64_t seed;
    std::uint32_t step;
};

/// Checks `stream` and writes its header.
StreamCall begin_encoding(const GradientCodec& codec, const Tensor& stream, std::uint32_t step);
/// Checks `out`, `stream` and its header.
StreamCall begin_decoding(const GradientCodec& codec, const Tensor& out, const Tensor& stream);
/// A run error unless all buckets were decoded well; first_bad: the first that was not, or the number of
/// buckets.
void end_decoding(const StreamCall& call, std::int64_t first_bad);

/// The sum, in the order of quant/group.h.
double total_of(const std::vector<double>& spreads);

template <typename Algorithm>
class BucketCodec : public GradientCodec {
  public:
    using Measure = typename Algorithm::Measure;
    using Fit = typename Algorithm::Fit;

    /// candidates(n): of a bucket of n elements. scratch_bytes: of one fit.
    BucketCodec(Context& context, const CodecSettings& settings, std::int64_t count,
                const BucketKernels<Algorithm>& kernels, std::int64_t (*candidates)(std::int64_t, double),
                std::int64_t scratch_bytes)
        : GradientCodec(settings, count),
          kernels_(kernels),
          buckets_(count, settings.bucket_size),
          parameters_(parameters_of(settings)),
          candidates_(candidates),
          scratch_stride_((scratch_bytes + 63) / 64 * 64) {
        const std::int64_t chunks = buckets_.chunks_per_bucket();
        buckets_per_wave_ = std::clamp<std::int64_t>(kWaveChunks / chunks, 1, buckets_.count());
        // Every thread fits as many of them.
        if (buckets_per_wave_ > context.threads()) buckets_per_wave_ -= buckets_per_wave_ % context.threads();
        spreads_.resize(static_cast<std::size_t>(buckets_.small() ? buckets_.runs() : buckets_.chunks()));
        if (!buckets_.small()) {
            measures_.resize(static_cast<std::size_t>(buckets_per_wave_ * chunks));
            fits_.resize(static_cast<std::size_t>(buckets_per_wave_));
        }
        context.workspace().reserve(workspace_bytes(context), Algorithm::kRemedy);
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const Call call = begin(context, out, in, step, variance);
        *variance.as<double>() = for_each_fitted(call, [&](const Fit& fit, std::int64_t, std::int64_t at,
                                                           std::int64_t n) {
            return kernels_.round(fit, call.out + at, call.in + at, n, call.draws.from(at), call.past_caches);
        });
    }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        const Call call = begin(context, in, in, step, variance);
        const StreamCall to = begin_encoding(*this, stream, call.step);
        *variance.as<double>() =
            for_each_fitted(call, [&](const Fit& fit, std::int64_t bucket, std::int64_t at, std::int64_t n) {
                const std::int64_t within = at - buckets_.begin(bucket);
                if (within == 0) write_header(to, fit, bucket);
                std::uint8_t* codes =
                    to.bytes + to.layout.codes_at(bucket) + packed_bytes(within, to.layout.bits);
                return kernels_.encode(fit, codes, to.layout.bits, call.in + at, n, call.draws.from(at));
            });
    }

    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        const StreamCall from = begin_decoding(*this, out, stream);
        const StreamLayout& layout = from.layout;
        QSTEP_CHECK(layout.header_words <= kMostHeaderWords, "{} words head a bucket", layout.header_words);
        auto* values = out.as<float>();
        const std::int64_t chunks = buckets_.chunks_per_bucket(), pieces = buckets_.chunks();
        std::int64_t first_bad = buckets_.count();
#pragma omp parallel for schedule(static) num_threads(context.threads()) reduction(min : first_bad)
        for (std::int64_t piece = 0; piece < pieces; ++piece) {
            const std::int64_t bucket = piece / chunks, within = piece % chunks * kChunk;
            const std::int64_t n = buckets_.chunk_length(piece);
            if (n <= 0) continue;
            std::uint32_t words[kMostHeaderWords];
            std::memcpy(words, from.bytes + layout.header_at(bucket),
                        static_cast<std::size_t>(layout.header_words) * sizeof(words[0]));
            const std::uint8_t* codes =
                from.bytes + layout.codes_at(bucket) + packed_bytes(within, layout.bits);
            if (!kernels_.decode(values + buckets_.chunk_begin(piece), n, words, from.parameters, codes,
                                 layout.bits))
                first_bad = std::min(first_bad, bucket);
        }
        end_decoding(from, first_bad);
    }

  private:
    /// smart's points.
    static constexpr std::int64_t kMostHeaderWords = 256;
    /// Small buckets from memory: how far ahead of its use a bucket is asked for.
    static constexpr std::int64_t kAhead = 2;
    /// Threads take whole buckets where each has as many of them.
    static constexpr std::int64_t kBucketsForEach = 4;
    /// 2 MiB of gradient.
    static constexpr std::int64_t kWaveChunks = 64;

    std::size_t workspace_bytes(const Context& context) const {
        return static_cast<std::size_t>(scratch_stride_ *
                                        std::min<std::int64_t>(context.threads(), buckets_.count()));
    }

    /// Each thread has its scratch memory, or each bucket if there are fewer.
    FitContext fit_context(const Call& call, std::int64_t bucket) const {
        const std::int64_t place = buckets_.count() < call.threads ? bucket : omp_get_thread_num();
        const std::int64_t candidates =
            candidates_ ? candidates_(buckets_.length(bucket), settings().smart_candidates_percent) : 0;
        return {settings().seed, call.step,  parameters_,
                bucket,          candidates, call.scratch + place * scratch_stride_};
    }

    Call begin(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
               const Tensor& variance) {
        Call call = begin_call(context, settings(), buckets_.elements, out, in, step, variance);
        if (scratch_stride_ > 0)
            call.scratch = static_cast<char*>(context.workspace().lend(workspace_bytes(context)));
        return call;
    }

    static void write_header(const StreamCall& to, const Fit& fit, std::int64_t bucket) {
        std::uint8_t* at = to.bytes + to.layout.header_at(bucket);
        for (std::int64_t i = 0; i < to.layout.header_words; ++i) {
            const std::uint32_t word = bucket_header_word<Algorithm>(fit, i);
            std::memcpy(at + i * 4, &word, sizeof word);
        }
    }

    /// finish(fit, bucket, at, n) -> spread, for the n elements from `at` on: a whole small bucket, or a
    /// chunk of a longer one. Returns the variance.
    template <typename Finish>
    double for_each_fitted(const Call& call, const Finish& finish) {
        if (buckets_.small())
            small_buckets(call, finish);
        else if (buckets_.count() >= kBucketsForEach * call.threads && buckets_.size <= kWaveChunks * kChunk)
            middle_buckets(call, finish);
        else
            for (std::int64_t bucket = 0; bucket < buckets_.count(); bucket += buckets_per_wave_)
                wave(call, bucket, std::min(bucket + buckets_per_wave_, buckets_.count()), finish);
        return total_of(spreads_);
    }

    template <typename Finish>
    void small_buckets(const Call& call, const Finish& finish) {
        const std::int64_t runs = buckets_.runs();
#pragma omp parallel num_threads(call.threads)
        {
#pragma omp for schedule(static) nowait
            for (std::int64_t run = 0; run < runs; ++run) {
                const std::int64_t first = run * buckets_.buckets_per_run();
                const std::int64_t last = std::min(first + buckets_.buckets_per_run(), buckets_.count());
                double total = 0;
                Fit fit;
                for (std::int64_t bucket = first; bucket < last; ++bucket) {
                    const std::int64_t begin = buckets_.begin(bucket), n = buckets_.length(bucket);
                    const float* x = call.in + begin;
                    if (call.past_caches && bucket + kAhead < last) fetch(x + kAhead * n, n);
                    kernels_.fit(fit, kernels_.measure(x, n), x, n, fit_context(call, bucket));
                    total += finish(fit, bucket, begin, n);
                }
                spreads_[static_cast<std::size_t>(run)] = total;
            }
            end_streams();
        }
    }

    /// Each thread takes whole buckets, so none waits for another.
    template <typename Finish>
    void middle_buckets(const Call& call, const Finish& finish) {
        const std::int64_t per_bucket = buckets_.chunks_per_bucket();
#pragma omp parallel num_threads(call.threads)
        {
            Fit fit;
#pragma omp for schedule(static) nowait
            for (std::int64_t bucket = 0; bucket < buckets_.count(); ++bucket) {
                const std::int64_t first = bucket * per_bucket, last = first + per_bucket;
                Measure measure = measure_chunk(call, first);
                for (std::int64_t chunk = first + 1; chunk < last; ++chunk)
                    measure = Algorithm::merge_measures(measure, measure_chunk(call, chunk));
                kernels_.fit(fit, measure, call.in + buckets_.begin(bucket), buckets_.length(bucket),
                             fit_context(call, bucket));
                for (std::int64_t chunk = first; chunk < last; ++chunk) finish_chunk(fit, chunk, finish);
            }
            end_streams();
        }
    }

    Measure measure_chunk(const Call& call, std::int64_t chunk) const {
        return kernels_.measure(call.in + buckets_.chunk_begin(chunk),
                                std::max<std::int64_t>(0, buckets_.chunk_length(chunk)));
    }
    template <typename Finish>
    void finish_chunk(const Fit& fit, std::int64_t chunk, const Finish& finish) {
        const std::int64_t n = buckets_.chunk_length(chunk);
        spreads_[static_cast<std::size_t>(chunk)] =
            n > 0 ? finish(fit, chunk / buckets_.chunks_per_bucket(), buckets_.chunk_begin(chunk), n) : 0.0;
    }

    template <typename Finish>
    void wave(const Call& call, std::int64_t first, std::int64_t last, const Finish& finish) {
        const std::int64_t per_bucket = buckets_.chunks_per_bucket(), begin = first * per_bucket;
        const std::int64_t end = last * per_bucket;
#pragma omp parallel num_threads(call.threads)
        {
#pragma omp for schedule(static)
            for (std::int64_t chunk = begin; chunk < end; ++chunk)
                measures_[static_cast<std::size_t>(chunk - begin)] = measure_chunk(call, chunk);
#pragma omp for schedule(dynamic)
            for (std::int64_t bucket = first; bucket < last; ++bucket) {
                const auto at = static_cast<std::size_t>((bucket - first) * per_bucket);
                Measure measure = measures_[at];
                for (std::int64_t i = 1; i < per_bucket; ++i)
                    measure = Algorithm::merge_measures(measure, measures_[at + static_cast<std::size_t>(i)]);
                kernels_.fit(fits_[static_cast<std::size_t>(bucket - first)], measure,
                             call.in + buckets_.begin(bucket), buckets_.length(bucket),
                             fit_context(call, bucket));
            }
#pragma omp for schedule(static) nowait
            for (std::int64_t chunk = begin; chunk < end; ++chunk)
                finish_chunk(fits_[static_cast<std::size_t>(chunk / per_bucket - first)], chunk, finish);
            end_streams();
        }
    }

    BucketKernels<Algorithm> kernels_;
    Buckets buckets_;
    Parameters parameters_;
    std::int64_t (*candidates_)(std::int64_t, double);
    std::int64_t scratch_stride_;
    std::int64_t buckets_per_wave_;
    std::vector<double> spreads_;
    std::vector<Measure> measures_;
    std::vector<Fit> fits_;
};

}  // namespace qstep::quant::cpu

// Launches Hadamard over all buckets with OpenMP: small buckets in runs; the chunks of a long bucket
// together, one phase after the other.
#include "quant/hadamard.h"

#include <bit>
#include <vector>

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::quant::cpu {

namespace {

struct Kernels {
    double (*quantize)(float* out, const float* x, std::int64_t n, float* y, std::int64_t padded,
                       const Parameters& parameters, const Draws& draws, const Signs& signs);
    Extent (*magnitudes)(const float* x, std::int64_t n);
    void (*rotate)(float* y, std::int64_t padded, const float* x, std::int64_t n,
                   const Hadamard::Scale& scale, const Signs& signs);
    void (*columns)(float* y, std::int64_t rows, std::int64_t column, float* strip);
    Extent (*extent)(const float* y, std::int64_t n);
    double (*round)(const Standard::Fit& fit, float* y, std::int64_t n, const Draws& draws);
    void (*store)(float* out, const float* y, std::int64_t n, const Hadamard::Scale& scale,
                  const Signs& signs);
};

#define QSTEP_HADAMARD_VARIANT(isa, attributes)                                                             \
    attributes double quantize_##isa(float* out, const float* x, std::int64_t n, float* y,                  \
                                     std::int64_t padded, const Parameters& parameters, const Draws& draws, \
                                     const Signs& signs) {                                                  \
        SimdGroupOf<Isa::isa> group;                                                                        \
        return Hadamard::quantize(group, out, x, n, y, padded, parameters, draws, signs);                   \
    }                                                                                                       \
    attributes Extent magnitudes_##isa(const float* x, std::int64_t n) {                                    \
        SimdGroupOf<Isa::isa> group;                                                                        \
        return Hadamard::measure(group, x, n);                                                              \
    }                                                                                                       \
    attributes void rotate_##isa(float* y, std::int64_t padded, const float* x, std::int64_t n,             \
                                 const Hadamard::Scale& scale, const Signs& signs) {                        \
        SimdGroupOf<Isa::isa> group;                                                                        \
        Hadamard::load(group, y, padded, x, n, scale, signs);                                               \
        group.walsh_hadamard(y, padded, 1);                                                                 \
    }                                                                                                       \
    attributes void columns_##isa(float* y, std::int64_t rows, std::int64_t column, float* strip) {         \
        SimdGroupOf<Isa::isa> group;                                                                        \
        Hadamard::transform_columns(group, y, rows, kChunk, column, strip);                                 \
    }                                                                                                       \
    attributes Extent extent_##isa(const float* y, std::int64_t n) {                                        \
        SimdGroupOf<Isa::isa> group;                                                                        \
        return Standard::measure(group, y, n);                                                              \
    }                                                                                                       \
    attributes double round_##isa(const Standard::Fit& fit, float* y, std::int64_t n, const Draws& draws) { \
        SimdGroupOf<Isa::isa> group;                                                                        \
        const double spread = round_to_values<Standard>(group, fit, y, y, n, draws);                        \
        group.walsh_hadamard(y, n, 1);                                                                      \
        return spread;                                                                                      \
    }                                                                                                       \
    attributes void store_##isa(float* out, const float* y, std::int64_t n, const Hadamard::Scale& scale,   \
                                const Signs& signs) {                                                       \
        SimdGroupOf<Isa::isa> group;                                                                        \
        Hadamard::store(group, out, y, n, scale, signs);                                                    \
    }
QSTEP_FOR_EACH_ISA(QSTEP_HADAMARD_VARIANT)
#undef QSTEP_HADAMARD_VARIANT

Kernels kernels_for(Isa isa) {
    switch (isa) {
        case Isa::avx512:
            return {quantize_avx512, magnitudes_avx512, rotate_avx512, columns_avx512,
                    extent_avx512,   round_avx512,      store_avx512};
        case Isa::avx2:
            return {quantize_avx2, magnitudes_avx2, rotate_avx2, columns_avx2,
                    extent_avx2,   round_avx2,      store_avx2};
        case Isa::baseline:
            break;
    }
    return {quantize_baseline, magnitudes_baseline, rotate_baseline, columns_baseline,
            extent_baseline,   round_baseline,      store_baseline};
}

class HadamardCodec : public GradientCodec {
  public:
    HadamardCodec(Context& context, const CodecSettings& settings, std::int64_t count, Isa isa)
        : GradientCodec(settings),
          kernels_(kernels_for(isa)),
          buckets_(count, settings.bucket_size),
          parameters_(parameters_of(settings)),
          padded_(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(buckets_.size)))) {
        spreads_.resize(static_cast<std::size_t>(buckets_.small() ? buckets_.runs() : buckets_.count()));
        const std::int64_t chunks = padded_ / kChunk;
        extents_.resize(static_cast<std::size_t>(chunks));
        chunk_spreads_.resize(static_cast<std::size_t>(chunks));
        context.workspace().reserve(workspace_bytes(context));
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        Call call = begin_call(context, settings(), buckets_.elements, out, in, step, variance);
        call.scratch = static_cast<char*>(context.workspace().lend(workspace_bytes(context)));
        if (buckets_.small())
            small_buckets(call);
        else
            for (std::int64_t bucket = 0; bucket < buckets_.count(); ++bucket)
                spreads_[static_cast<std::size_t>(bucket)] = long_bucket(call, bucket);
        *variance.as<double>() = total_of(spreads_);
    }

  private:
    std::size_t workspace_bytes(const Context& context) const {
        // Small buckets: a vector a thread. A long one: its vector, and a strip of columns a thread.
        const std::int64_t floats =
            buckets_.small() ? context.threads() * stride() : padded_ + context.threads() * strip_stride();
        return static_cast<std::size_t>(floats) * sizeof(float);
    }
    /// A bucket is padded to a power of two of its own, also the shorter last one.
    std::int64_t padded_length(std::int64_t bucket) const {
        return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(buckets_.length(bucket))));
    }
    std::int64_t strip_stride() const { return padded_ / kChunk * Hadamard::kStrip; }
    std::int64_t stride() const { return std::max<std::int64_t>(padded_, 16); }
    Signs signs(const Call& call, std::int64_t first) const {
        return {{settings().seed, Purpose::rotation, call.step}, static_cast<std::uint64_t>(first)};
    }

    double whole_bucket(const Call& call, std::int64_t bucket, float* y) {
        const std::int64_t begin = buckets_.begin(bucket);
        return kernels_.quantize(call.out + begin, call.in + begin, buckets_.length(bucket), y,
                                 padded_length(bucket), parameters_, call.draws.from(bucket * padded_),
                                 signs(call, begin));
    }

    void small_buckets(const Call& call) {
        const std::int64_t runs = buckets_.runs();
#pragma omp parallel for schedule(static) num_threads(call.threads)
        for (std::int64_t run = 0; run < runs; ++run) {
            float* y = reinterpret_cast<float*>(call.scratch) + omp_get_thread_num() * stride();
            const std::int64_t first = run * buckets_.buckets_per_run();
            const std::int64_t last = std::min(first + buckets_.buckets_per_run(), buckets_.count());
            double total = 0;
            for (std::int64_t bucket = first; bucket < last; ++bucket) total += whole_bucket(call, bucket, y);
            spreads_[static_cast<std::size_t>(run)] = total;
        }
    }

    template <typename F>
    void for_each_chunk(const Call& call, std::int64_t chunks, F f) {
#pragma omp parallel for schedule(static) num_threads(call.threads)
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) f(chunk, static_cast<std::size_t>(chunk));
    }
    Extent merged_extents(std::int64_t chunks) const {
        Extent all;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
            all = merge(all, extents_[static_cast<std::size_t>(chunk)]);
        return all;
    }
    void transform_columns(const Call& call, std::int64_t chunks, float* y) {
#pragma omp parallel for schedule(static) num_threads(call.threads)
        for (std::int64_t column = 0; column < kChunk; column += Hadamard::kStrip)
            kernels_.columns(y, chunks, column, y + padded_ + omp_get_thread_num() * strip_stride());
    }

    double long_bucket(const Call& call, std::int64_t bucket) {
        const std::int64_t begin = buckets_.begin(bucket), n = buckets_.length(bucket);
        const float* x = call.in + begin;
        float* out = call.out + begin;
        auto* y = reinterpret_cast<float*>(call.scratch);
        const std::int64_t padded = padded_length(bucket), chunks = padded / kChunk;
        if (padded <= kChunk) return whole_bucket(call, bucket, y);
        const auto length = [n](std::int64_t chunk) {
            return std::clamp<std::int64_t>(n - chunk * kChunk, 0, kChunk);
        };
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            extents_[at] = kernels_.magnitudes(x + chunk * kChunk, length(chunk));
        });
        const Hadamard::Scale scale = Hadamard::scale(merged_extents(chunks), padded);
        if (!scale.finite) {
            for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
                std::fill_n(out + chunk * kChunk, length(chunk), kNotANumber);
            });
            return std::numeric_limits<double>::quiet_NaN();
        }
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
            const std::int64_t offset = chunk * kChunk;
            kernels_.rotate(y + offset, kChunk, x + offset, length(chunk), scale,
                            signs(call, begin + offset));
        });
        transform_columns(call, chunks, y);
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            extents_[at] = kernels_.extent(y + chunk * kChunk, kChunk);
        });
        const Standard::Fit fit = Standard::fit_of(merged_extents(chunks), padded, parameters_);
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            const std::int64_t offset = chunk * kChunk;
            chunk_spreads_[at] =
                kernels_.round(fit, y + offset, kChunk, call.draws.from(bucket * padded_ + offset));
        });
        transform_columns(call, chunks, y);
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
            const std::int64_t offset = chunk * kChunk;
            kernels_.store(out + offset, y + offset, length(chunk), scale, signs(call, begin + offset));
        });
        double spread = 0;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
            spread += chunk_spreads_[static_cast<std::size_t>(chunk)];
        return spread * scale.variance;
    }

    Kernels kernels_;
    Buckets buckets_;
    Parameters parameters_;
    std::int64_t padded_;  // of a full bucket
    std::vector<double> spreads_;
    std::vector<double> chunk_spreads_;
    std::vector<Extent> extents_;
};

}  // namespace

std::unique_ptr<GradientCodec> make_hadamard(Context& context, const CodecSettings& settings,
                                             std::int64_t count, Isa isa) {
    return std::make_unique<HadamardCodec>(context, settings, count, isa);
}

}  // namespace qstep::quant::cpu

// Launches Hadamard over all buckets with OpenMP: small buckets in runs; the chunks of a long bucket
// together, one phase after the other.
#include "quant/hadamard.h"

#include <atomic>
#include <bit>
#include <vector>

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"
#include "quant/cpu/hadamard_kernels.h"

namespace qstep::quant::cpu {

namespace {

class HadamardCodec : public GradientCodec {
  public:
    HadamardCodec(Context& context, const CodecSettings& settings, std::int64_t count, Isa isa)
        : GradientCodec(settings, count),
          kernels_(hadamard_kernels_for(isa)),
          buckets_(count, settings.bucket_size),
          parameters_(parameters_of(settings)),
          padded_(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(buckets_.size)))) {
        spreads_.resize(static_cast<std::size_t>(buckets_.small() ? buckets_.runs() : buckets_.count()));
        const std::int64_t chunks = padded_ / kChunk;
        extents_.resize(static_cast<std::size_t>(chunks));
        chunk_spreads_.resize(static_cast<std::size_t>(chunks));
        context.workspace().reserve(workspace_bytes(context), Hadamard::kRemedy);
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const Call call = begin(context, out, in, step, variance);
        for_each_bucket(call, [&](std::int64_t bucket, float* y) {
            const WholeHadamard whole = whole_bucket(call.step, settings().seed, bucket, y);
            const std::int64_t begin = buckets_.begin(bucket);
            if (whole.padded > kChunk) return long_bucket(call, bucket, y);
            return kernels_.quantize(call.out + begin, call.in + begin, whole, parameters_,
                                     call.draws.from(bucket * padded_), call.past_caches);
        });
        *variance.as<double>() = total_of(spreads_);
    }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        const Call call = begin(context, in, in, step, variance);
        const StreamCall to = begin_encoding(*this, stream, call.step);
        for_each_bucket(call, [&](std::int64_t bucket, float* y) {
            const WholeHadamard whole = whole_bucket(call.step, settings().seed, bucket, y);
            if (whole.padded > kChunk) return encode_long_bucket(call, to, bucket, y);
            return kernels_.encode(
                to.bytes + to.layout.header_at(bucket), to.bytes + to.layout.codes_at(bucket), to.layout.bits,
                call.in + buckets_.begin(bucket), whole, parameters_, call.draws.from(bucket * padded_));
        });
        *variance.as<double>() = total_of(spreads_);
    }

    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        const StreamCall from = begin_decoding(*this, out, stream);
        Call call{out.as<float>(), nullptr, from.step, {}, context.threads(), nullptr};
        call.scratch = static_cast<char*>(context.workspace().lend(workspace_bytes(context)));
        std::atomic<std::int64_t> bad{buckets_.count()};
        for_each_bucket(call, [&](std::int64_t bucket, float* y) {
            std::uint32_t words[Hadamard::kHeaderWords];
            std::memcpy(words, from.bytes + from.layout.header_at(bucket), sizeof words);
            const WholeHadamard whole = whole_bucket(call.step, from.seed, bucket, y);
            const bool good = whole.padded > kChunk
                                  ? decode_long_bucket(call, from, bucket, words, y)
                                  : kernels_.decode(call.out + buckets_.begin(bucket), words,
                                                    from.bytes + from.layout.codes_at(bucket),
                                                    from.layout.bits, whole, parameters_);
            if (!good) bad = bucket;
            return 0.0;
        });
        end_decoding(from, bad);
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
    static Signs signs(std::uint32_t step, std::uint64_t seed, std::int64_t first) {
        return {{seed, Purpose::rotation, step}, static_cast<std::uint64_t>(first)};
    }
    WholeHadamard whole_bucket(std::uint32_t step, std::uint64_t seed, std::int64_t bucket, float* y) const {
        return {buckets_.length(bucket), padded_length(bucket), y, signs(step, seed, buckets_.begin(bucket))};
    }

    Call begin(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
               const Tensor& variance) {
        Call call = begin_call(context, settings(), buckets_.elements, out, in, step, variance);
        call.scratch = static_cast<char*>(context.workspace().lend(workspace_bytes(context)));
        return call;
    }

    /// do_bucket(bucket, y) -> spread. Long buckets one after the other, each on all threads.
    template <typename F>
    void for_each_bucket(const Call& call, const F& do_bucket) {
        auto* scratch = reinterpret_cast<float*>(call.scratch);
        if (!buckets_.small()) {
            for (std::int64_t bucket = 0; bucket < buckets_.count(); ++bucket)
                spreads_[static_cast<std::size_t>(bucket)] = do_bucket(bucket, scratch);
            return;
        }
        const std::int64_t runs = buckets_.runs();
#pragma omp parallel num_threads(call.threads)
        {
            float* y = scratch + omp_get_thread_num() * stride();
#pragma omp for schedule(static) nowait
            for (std::int64_t run = 0; run < runs; ++run) {
                const std::int64_t first = run * buckets_.buckets_per_run();
                const std::int64_t last = std::min(first + buckets_.buckets_per_run(), buckets_.count());
                double total = 0;
                for (std::int64_t bucket = first; bucket < last; ++bucket) total += do_bucket(bucket, y);
                spreads_[static_cast<std::size_t>(run)] = total;
            }
            end_streams();
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

    struct Rotated {
        Hadamard::Scale scale;
        Standard::Fit fit;
    };
    /// y = the rotated bucket, where it is finite.
    Rotated rotate_long_bucket(const Call& call, std::int64_t bucket, float* y) {
        const float* x = call.in + buckets_.begin(bucket);
        const std::int64_t padded = padded_length(bucket), chunks = padded / kChunk;
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            extents_[at] = kernels_.magnitudes(x + chunk * kChunk, chunk_length(bucket, chunk));
        });
        const Hadamard::Scale scale = Hadamard::scale(merged_extents(chunks), padded);
        if (!scale.finite) return {scale, {}};
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
            const std::int64_t offset = chunk * kChunk;
            kernels_.rotate(y + offset, x + offset, chunk_length(bucket, chunk), scale,
                            signs(call.step, settings().seed, buckets_.begin(bucket) + offset));
        });
        transform_columns(call, chunks, y);
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            extents_[at] = kernels_.extent(y + chunk * kChunk);
        });
        return {scale, Standard::fit_of(merged_extents(chunks), padded, parameters_)};
    }

    double long_bucket(const Call& call, std::int64_t bucket, float* y) {
        const Rotated rotated = rotate_long_bucket(call, bucket, y);
        const std::int64_t chunks = padded_length(bucket) / kChunk;
        if (!rotated.scale.finite) {
            fill_not_a_number(call, bucket);
            return std::numeric_limits<double>::quiet_NaN();
        }
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            const std::int64_t offset = chunk * kChunk;
            chunk_spreads_[at] =
                kernels_.round(rotated.fit, y + offset, call.draws.from(bucket * padded_ + offset));
        });
        store_long_bucket(call, bucket, y, rotated.scale, settings().seed);
        return spread_of(chunks) * rotated.scale.variance;
    }

    double encode_long_bucket(const Call& call, const StreamCall& to, std::int64_t bucket, float* y) {
        const Rotated rotated = rotate_long_bucket(call, bucket, y);
        const std::int64_t padded = padded_length(bucket), chunks = padded / kChunk;
        const int bits = to.layout.bits;
        write_hadamard_header(to.bytes + to.layout.header_at(bucket), rotated.scale, rotated.fit);
        std::uint8_t* codes = to.bytes + to.layout.codes_at(bucket);
        if (!rotated.scale.finite) {
            std::fill_n(codes, packed_bytes(padded, bits), std::uint8_t{0});
            return std::numeric_limits<double>::quiet_NaN();
        }
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t at) {
            const std::int64_t offset = chunk * kChunk;
            chunk_spreads_[at] =
                kernels_.encode_chunk(rotated.fit, codes + packed_bytes(offset, bits), bits, y + offset,
                                      call.draws.from(bucket * padded_ + offset));
        });
        return spread_of(chunks) * rotated.scale.variance;
    }

    bool decode_long_bucket(const Call& call, const StreamCall& from, std::int64_t bucket,
                            const std::uint32_t* words, float* y) {
        const std::int64_t padded = padded_length(bucket), chunks = padded / kChunk;
        const int bits = from.layout.bits;
        const std::uint8_t* codes = from.bytes + from.layout.codes_at(bucket);
        std::atomic<bool> good{true};
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
            const std::int64_t offset = chunk * kChunk;
            if (!kernels_.decode_chunk(y + offset, words + 1, codes + packed_bytes(offset, bits), bits,
                                       parameters_))
                good = false;
        });
        const Hadamard::Scale scale = Hadamard::scale_from(words, padded);
        if (!scale.finite)
            fill_not_a_number(call, bucket);
        else if (good)
            store_long_bucket(call, bucket, y, scale, from.seed);
        return good;
    }

    /// The rest of the way back from y to the elements.
    void store_long_bucket(const Call& call, std::int64_t bucket, float* y, const Hadamard::Scale& scale,
                           std::uint64_t seed) {
        const std::int64_t chunks = padded_length(bucket) / kChunk, begin = buckets_.begin(bucket);
        transform_columns(call, chunks, y);
        for_each_chunk(call, chunks, [&](std::int64_t chunk, std::size_t) {
            const std::int64_t offset = chunk * kChunk;
            kernels_.store(call.out + begin + offset, y + offset, chunk_length(bucket, chunk), scale,
                           signs(call.step, seed, begin + offset));
        });
    }
    void fill_not_a_number(const Call& call, std::int64_t bucket) {
        std::fill_n(call.out + buckets_.begin(bucket), buckets_.length(bucket), kNotANumber);
    }
    /// Elements of the bucket in a chunk of its padded vector.
    std::int64_t chunk_length(std::int64_t bucket, std::int64_t chunk) const {
        return std::clamp<std::int64_t>(buckets_.length(bucket) - chunk * kChunk, 0, kChunk);
    }
    double spread_of(std::int64_t chunks) const {
        double spread = 0;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
            spread += chunk_spreads_[static_cast<std::size_t>(chunk)];
        return spread;
    }

    HadamardKernels kernels_;
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

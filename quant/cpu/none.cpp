// `none`: the identity, which still looks for numbers that are not finite; and the search for the first of
// them.
#include <omp.h>

#include <cstring>
#include <vector>

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"
#include "quant/formulas.h"

namespace qstep::quant::cpu {

namespace {

#define QSTEP_FINITE_VARIANT(isa, attributes)                                \
    attributes bool finite_##isa(const float* x, std::int64_t n) {           \
        SimdGroupOf<Isa::isa> group;                                         \
        return group.extent(n, [=](std::int64_t i) { return x[i]; }).finite; \
    }
QSTEP_FOR_EACH_ISA(QSTEP_FINITE_VARIANT)
#undef QSTEP_FINITE_VARIANT

using Finite = bool (*)(const float*, std::int64_t);

Finite finite_for(Isa isa) {
    return isa == Isa::avx512 ? finite_avx512 : isa == Isa::avx2 ? finite_avx2 : finite_baseline;
}

class NoneCodec : public GradientCodec {
  public:
    NoneCodec(const CodecSettings& settings, std::int64_t count, Isa isa)
        : GradientCodec(settings, count), finite_(finite_for(isa)), count_(count) {}

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const Call call = begin_call(context, settings(), count_, out, in, step, variance);
        bool finite = true;
#pragma omp parallel for schedule(static) num_threads(call.threads) reduction(&& : finite)
        for (std::int64_t begin = 0; begin < count_; begin += kChunk) {
            const std::int64_t n = std::min(kChunk, count_ - begin);
            finite = finite && finite_(call.in + begin, n);
            if (call.out != call.in)
                std::memcpy(call.out + begin, call.in + begin, static_cast<std::size_t>(n) * sizeof(float));
        }
        *variance.as<double>() = finite ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        const auto number = static_cast<std::uint32_t>(*step.as<std::int64_t>());
        const StreamCall to = begin_encoding(*this, stream, number);
        quantize(context, {to.bytes + to.layout.codes_at(0), DType::f32, {count_}}, in, step, variance);
    }

    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        const StreamCall from = begin_decoding(*this, out, stream);
        const std::uint8_t* values = from.bytes + from.layout.codes_at(0);
        auto* to = reinterpret_cast<std::uint8_t*>(out.as<float>());
        const std::int64_t bytes = count_ * std::int64_t{sizeof(float)};
#pragma omp parallel for schedule(static) num_threads(context.threads())
        for (std::int64_t begin = 0; begin < bytes; begin += kChunk)
            std::memcpy(to + begin, values + begin,
                        static_cast<std::size_t>(std::min(kChunk, bytes - begin)));
    }

  private:
    Finite finite_;
    std::int64_t count_;
};

}  // namespace

std::unique_ptr<GradientCodec> make_none(Context&, const CodecSettings& settings, std::int64_t count,
                                         Isa isa) {
    return std::make_unique<NoneCodec>(settings, count, isa);
}

std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count,
                                    Isa isa) {
    switch (settings.kind) {
        case CodecKind::none:
            return make_none(context, settings, count, isa);
        case CodecKind::smart:
            return make_smart(context, settings, count, isa);
        case CodecKind::hadamard:
            return make_hadamard(context, settings, count, isa);
        default:
            return with_formula(settings, [&]<typename Tag>(Tag) {
                return make_formula<typename Tag::Algorithm>(context, settings, count, isa);
            });
    }
}

Call begin_call(Context& context, const CodecSettings& settings, std::int64_t count, const Tensor& out,
                const Tensor& in, const Tensor& step, const Tensor& variance) {
    const float* from = in.as<float>();
    float* to = out.as<float>();
    QSTEP_CHECK(in.count() == count && out.count() == count,
                "the codec was made for {} elements, got {} and {}", count, in.count(), out.count());
    QSTEP_CHECK(to == from || to + count <= from || from + count <= to, "out and in overlap in part");
    check_tensor(step, "step", DType::i64, {1});
    check_tensor(variance, "variance", DType::f64, {1});
    const auto number = static_cast<std::uint32_t>(*step.as<std::int64_t>());
    const Draws draws{{settings.seed, Purpose::rounding, number}, 0, rounds_to_nearest(settings)};
    return {to, from, number, draws, context.threads(), nullptr};
}

StreamCall begin_encoding(const GradientCodec& codec, const Tensor& stream, std::uint32_t step) {
    const CodecSettings& settings = codec.settings();
    check_tensor(stream, "stream", DType::u8, {codec.stream_bytes()});
    auto* bytes = stream.as<std::uint8_t>();
    QSTEP_CHECK(reinterpret_cast<std::uintptr_t>(bytes) % 16 == 0, "the stream is not aligned to 16 bytes");
    const StreamHeaderWords words = header_words_of(settings, codec.element_count(), step);
    std::memcpy(bytes, words.word, sizeof words.word);
    return {bytes, stream_layout(settings, codec.element_count()), parameters_of(settings), settings.seed,
            step};
}

StreamCall begin_decoding(const GradientCodec& codec, const Tensor& out, const Tensor& stream) {
    check_tensor(out, "out", DType::f32, {codec.element_count()});
    check_tensor(stream, "stream", DType::u8, {codec.stream_bytes()});
    auto* bytes = stream.as<std::uint8_t>();
    const StreamHeader header =
        read_stream_header({reinterpret_cast<const std::byte*>(bytes), stream.bytes()});
    const StreamLayout layout = stream_layout(codec.settings(), codec.element_count());
    const Parameters parameters = parameters_of(codec.settings());
    const std::int64_t bucket_size = header.kind == CodecKind::none ? 0 : layout.buckets.size;
    if (header.kind != codec.settings().kind || header.elements != codec.element_count() ||
        header.bucket_size != bucket_size || header.parameters != parameters ||
        header.seed != codec.settings().seed || header.entropy_coded)
        fail_run("this stream is not one of {} with {} levels, {} elements, buckets of {} and seed {}",
                 name_of(codec.settings().kind), parameters.levels, codec.element_count(), bucket_size,
                 codec.settings().seed);
    return {bytes, layout, parameters, header.seed, header.step};
}

void end_decoding(const StreamCall& call, std::int64_t first_bad) {
    if (first_bad < call.layout.buckets.count())
        fail_run("bucket {} of the gradient stream has a code that is none", first_bad);
}

double total_of(const std::vector<double>& spreads) {
    const double* spread = spreads.data();
    return SimdGroup::sum(static_cast<std::int64_t>(spreads.size()),
                          [=](std::int64_t i) { return spread[i]; });
}

std::int64_t first_non_finite(Context& context, const float* x, std::int64_t n) {
    const Finite finite = finite_for(best_isa());
    std::int64_t first_chunk = n;
#pragma omp parallel for schedule(static) num_threads(context.threads()) reduction(min : first_chunk)
    for (std::int64_t begin = 0; begin < n; begin += kChunk)
        if (begin < first_chunk && !finite(x + begin, std::min(kChunk, n - begin))) first_chunk = begin;
    for (std::int64_t i = first_chunk; i < n; ++i)
        if (!finite(x + i, 1)) return i;
    return -1;
}

}  // namespace qstep::quant::cpu

// What all CPU codecs share: which one settings ask for, and the checks of their arguments.
#include "quant/cpu/codecs.h"

#include <cstring>

#include "engine/backend.h"
#include "quant/cpu/bucket_codec.h"
#include "quant/formulas.h"

namespace qstep::quant::cpu {

namespace {

/// 0 where nobody knows. Looked up once: it is read from a file.
std::int64_t cache_bytes() {
    static const auto bytes = static_cast<std::int64_t>(backend(Device{}).cache_bytes());
    return bytes;
}

}  // namespace

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
    const std::int64_t cache = cache_bytes();
    const bool past_caches = to != from && cache > 0 && 2 * count * std::int64_t{sizeof(float)} > cache;
    return {to, from, number, draws, context.threads(), nullptr, past_caches};
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

}  // namespace qstep::quant::cpu

// Gradient codecs with their default settings, at a bucket of 512 elements; smart at 51,200 too, where it
// looks at a sample, and with its other solvers; standard also with random points and with error feedback.
#include <fmt/format.h>

#include "apps/bench_kernels/work.h"
#include "kernels/convert.h"
#include "quant/codec.h"

namespace qstep::bench {

namespace {

std::vector<CodecSettings> codecs() {
    std::vector<CodecSettings> all;
    for (const CodecKind kind : all_codecs()) {
        CodecSettings settings;
        settings.kind = kind;
        all.push_back(settings);
        if (kind == CodecKind::standard) {
            settings.points = Points::random;
            all.push_back(settings);
            settings.points = Points::even;
            settings.error_feedback = true;
            all.push_back(settings);
        }
        if (kind != CodecKind::smart) continue;
        settings.bucket_size = 51200;
        for (const Solver solver : {Solver::sample, Solver::exact, Solver::histogram}) {
            settings.solver = solver;
            all.push_back(settings);
        }
    }
    return all;
}

std::string label_of(const CodecSettings& settings) {
    std::string label = name_of(settings.kind);
    if (settings.solver != CodecSettings{}.solver) label += fmt::format("-{}", name_of(settings.solver));
    if (settings.points != CodecSettings{}.points) label += fmt::format("-{}", name_of(settings.points));
    return label + (settings.error_feedback ? "-ef" : "");
}

/// A codec and what each of its functions wants.
struct Codec {
    Codec(Context& context, Tensors& tensors, const CodecSettings& settings, std::int64_t n)
        : codec(make_codec(context, settings, n)),
          in(tensors.random(DType::f32, {n})),
          step(tensors.zeros(DType::i64, {1})),
          variance(tensors.zeros(DType::f64, {1})) {
        if (!settings.error_feedback) return;
        const Tensor residual = tensors.zeros(DType::f32, {n});
        codec->set_residual(residual, tensors.zeros(DType::f32, {n}));
        residual_bytes = bytes_of({residual, residual});
    }

    std::shared_ptr<GradientCodec> codec;
    Tensor in, step, variance;
    std::int64_t residual_bytes = 0;
};

Work quantize(Context&, Tensors& tensors, const Codec& c) {
    const Tensor out = tensors.zeros(DType::f32, c.in.shape);
    return {
        .elements = c.in.count(),
        .bytes = bytes_of({c.in, out}) + c.residual_bytes,
        .launch = [c, out](Context& context) { c.codec->quantize(context, out, c.in, c.step, c.variance); }};
}

// Values that are levels already may be less work.
Work quantize_in_place(Context&, Tensors& tensors, const Codec& c) {
    const Tensor place = tensors.zeros(DType::f32, c.in.shape);
    return {.elements = c.in.count(),
            .bytes = bytes_of({place, place}),
            .launch = [c, place](
                          Context& context) { c.codec->quantize(context, place, place, c.step, c.variance); },
            .restore = [c, place](Context& context) { convert(context, place, c.in); }};
}

Work update(Context&, Tensors& tensors, const Codec& c) {
    const Tensor parameters = tensors.random(DType::f32, c.in.shape);
    const Tensor momentum = tensors.zeros(DType::f32, c.in.shape);
    const Tensor buffer = c.codec->update_needs_buffer() ? tensors.zeros(DType::f32, c.in.shape) : Tensor{};
    const UpdateTensors all{parameters, momentum, c.in, tensors.filled({1}, 1e-6f)};
    return {.elements = c.in.count(),
            .bytes = bytes_of({c.in, parameters, momentum, parameters, momentum}) + c.residual_bytes,
            .launch = [c, all, buffer](Context& context) {
                c.codec->quantize_and_update(context, all, {}, c.step, c.variance, buffer);
            }};
}

Work encode(Context&, Tensors& tensors, const Codec& c) {
    const Tensor stream = tensors.zeros(DType::u8, {c.codec->stream_bytes()});
    return {.elements = c.in.count(),
            .bytes = bytes_of({c.in, stream}) + c.residual_bytes,
            .launch = [c, stream](Context& context) {
                c.codec->encode(context, stream, c.in, c.step, c.variance);
            }};
}

Work decode(Context&, Tensors& tensors, const Codec& c) {
    const Tensor stream = tensors.zeros(DType::u8, {c.codec->stream_bytes()});
    const Tensor out = tensors.zeros(DType::f32, c.in.shape);
    return {.elements = c.in.count(),
            .bytes = bytes_of({stream, out}),
            .launch = [c, out, stream](Context& context) { c.codec->decode(context, out, stream); },
            .prepare = [c, stream](
                           Context& context) { c.codec->encode(context, stream, c.in, c.step, c.variance); }};
}

struct Mode {
    const char* name;
    Work (*make)(Context&, Tensors&, const Codec&);
};
constexpr Mode kModes[] = {{"quantize", quantize},
                           {"in_place", quantize_in_place},
                           {"update", update},
                           {"encode", encode},
                           {"decode", decode}};

}  // namespace

void add_codecs(std::vector<Benchmark>& to) {
    for (const CodecSettings& settings : codecs())
        for (const Mode& mode : kModes) {
            // Error feedback reads the gradient after the result is written.
            if (settings.error_feedback && mode.make == quantize_in_place) continue;
            for (const std::int64_t n : kSizes)
                to.push_back({fmt::format("codec/{}/bucket:{}/{}/{}", label_of(settings),
                                          settings.bucket_size, mode.name, n),
                              [=](Context& context, Tensors& tensors) {
                                  return mode.make(context, tensors, Codec(context, tensors, settings, n));
                              }});
        }
}

}  // namespace qstep::bench

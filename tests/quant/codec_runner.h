// Runs a codec once over host vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "engine/context.h"
#include "engine/random.h"
#include "quant/codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::test {

struct Result {
    std::vector<float> values;
    double variance = -1;
};

/// A codec as the tests tell them apart.
struct Codec {
    CodecKind kind = CodecKind::none;
    Norm norm = Norm::l2;
    Points points = Points::even;

    Codec(CodecKind of_kind) : kind(of_kind) {}
    Codec(CodecKind of_kind, Norm of_norm) : kind(of_kind), norm(of_norm) {}
    Codec(CodecKind of_kind, Points of_points) : kind(of_kind), points(of_points) {}
};
inline bool operator==(const Codec& codec, CodecKind kind) {
    return codec.kind == kind;
}
inline std::string name_of(const Codec& codec) {
    return std::string(qstep::name_of(codec.kind)) + (codec.norm == Norm::max ? "_max" : "") +
           (codec.points == Points::random ? "_random" : "");
}

inline CodecSettings settings_of(const Codec& codec, std::int64_t bucket_size = 512,
                                 std::int64_t levels = 16) {
    CodecSettings settings;
    settings.kind = codec.kind;
    settings.qsgd_norm = codec.norm;
    settings.points = codec.points;
    settings.bucket_size = bucket_size;
    // It has no two levels.
    settings.levels = codec.kind == CodecKind::qsgd ? std::max<std::int64_t>(levels, 3) : levels;
    settings.seed = 7;
    return settings;
}

inline Result run(const CodecSettings& settings, const std::vector<float>& in, std::int64_t step = 0,
                  int threads = 2, quant::cpu::Isa isa = quant::cpu::best_isa(), bool in_place = false) {
    Context context(Device{}, threads);
    const auto count = static_cast<std::int64_t>(in.size());
    const auto codec = quant::cpu::make(context, settings, count, isa);
    context.workspace().freeze();
    Result result{in, -1};
    std::vector<float> copy = in;
    const Tensor out{result.values.data(), DType::f32, {count}};
    const Tensor from{in_place ? result.values.data() : copy.data(), DType::f32, {count}};
    codec->quantize(context, out, from, {&step, DType::i64, {1}}, {&result.variance, DType::f64, {1}});
    return result;
}

/// Values like a gradient's: most near 0, some far out, no symmetry.
inline std::vector<float> gradient_like(std::int64_t n, std::uint64_t seed = 1) {
    const RandomStream stream{seed, Purpose::synthetic_data, 0};
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double normal = stream.normal(2 * i), scale = stream.uniform(8 * i + 5);
        x[i] = static_cast<float>((normal + 0.1) * scale * scale * 1e-3);
    }
    return x;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline const std::vector<Codec> kLossyCodecs{CodecKind::standard,
                                             {CodecKind::standard, Points::random},
                                             CodecKind::smart,
                                             CodecKind::hadamard,
                                             CodecKind::exponential,
                                             CodecKind::qsgd,
                                             {CodecKind::qsgd, Norm::max},
                                             CodecKind::terngrad,
                                             CodecKind::sign,
                                             CodecKind::natural,
                                             CodecKind::dorefa,
                                             CodecKind::fixed};

inline std::vector<Codec> without(std::vector<Codec> codecs, std::initializer_list<CodecKind> kinds) {
    std::erase_if(codecs, [&](const Codec& codec) {
        return std::find(kinds.begin(), kinds.end(), codec.kind) != kinds.end();
    });
    return codecs;
}
inline std::vector<Codec> all_codecs() {
    std::vector<Codec> codecs = kLossyCodecs;
    codecs.insert(codecs.begin(), CodecKind::none);
    return codecs;
}

}  // namespace qstep::test

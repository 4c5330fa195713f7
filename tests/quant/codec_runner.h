// Runs a codec once over host vectors.
#pragma once

#include <cstdint>
#include <cstring>
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

inline CodecSettings settings_of(CodecKind kind, std::int64_t bucket_size = 512, std::int64_t levels = 16) {
    CodecSettings settings;
    settings.kind = kind;
    settings.bucket_size = bucket_size;
    settings.levels = levels;
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

inline const std::vector<CodecKind> kLossyCodecs{CodecKind::standard, CodecKind::smart, CodecKind::hadamard,
                                                 CodecKind::exponential};

}  // namespace qstep::test

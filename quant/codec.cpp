#include "quant/codec.h"

#include <array>

#include "engine/suggest.h"
#include "quant/cpu/codecs.h"
#ifdef QSTEP_WITH_CUDA
#include "quant/cuda/codecs.h"
#endif
#include "quant/parameters.h"
#include "quant/smart.h"
#include "quant/stream.h"

namespace qstep {

namespace {

constexpr std::array<std::string_view, kCodecCount> kCodecs{"none", "standard", "smart", "hadamard",
                                                            "exponential"};
constexpr std::array<std::string_view, 2> kRoundings{"stochastic", "nearest"};

std::int64_t most_levels(CodecKind kind) {
    switch (kind) {
        case CodecKind::smart:
            return quant::Smart::kMaxLevels;
        case CodecKind::exponential:
            return 128;
        default:
            return 65536;
    }
}

template <typename Enum, std::size_t N>
Enum parse(std::string_view text, const char* what, const std::array<std::string_view, N>& names) {
    for (std::size_t i = 0; i < N; ++i)
        if (text == names[i]) return static_cast<Enum>(i);
    fail_usage("there is no {} \"{}\"; did you mean \"{}\"?", what, text, nearest_name(text, names));
}

}  // namespace

std::vector<CodecKind> all_codecs() {
    std::vector<CodecKind> kinds;
    for (std::size_t i = 0; i < kCodecs.size(); ++i) kinds.push_back(static_cast<CodecKind>(i));
    return kinds;
}

CodecKind parse_codec(std::string_view text) {
    return parse<CodecKind>(text, "codec", kCodecs);
}

Rounding parse_rounding(std::string_view text) {
    return parse<Rounding>(text, "rounding", kRoundings);
}

const char* name_of(CodecKind kind) {
    return kCodecs[static_cast<std::size_t>(kind)].data();
}

const char* name_of(Rounding rounding) {
    return kRoundings[static_cast<std::size_t>(rounding)].data();
}

void validate(const CodecSettings& settings) {
    if (settings.kind == CodecKind::none) return;
    const char* name = name_of(settings.kind);
    if (settings.levels < 2) fail_usage("{} needs at least 2 levels, got {}", name, settings.levels);
    if (settings.levels > most_levels(settings.kind))
        fail_usage("{} has at most {} levels, got {}", name, most_levels(settings.kind), settings.levels);
    if (settings.kind == CodecKind::exponential && settings.levels % 2 != 0)
        fail_usage("exponential needs an even number of levels, one sign for each magnitude, got {}",
                   settings.levels);
    if (settings.bucket_size == 0 || settings.bucket_size < -1)
        fail_usage(
            "the bucket size is a number of elements, at least 1, or -1 for the whole gradient; got {}",
            settings.bucket_size);
    const double percent = settings.smart_candidates_percent;
    if (settings.kind == CodecKind::smart && !(percent > 0.0 && percent <= 100.0))
        fail_usage("smart's candidates are a percentage above 0 and up to 100, got {}", percent);
}

quant::Parameters quant::parameters_of(const CodecSettings& settings) {
    return settings.kind == CodecKind::none ? Parameters{} : Parameters{settings.levels, 0};
}

std::int64_t GradientCodec::stream_bytes() const {
    return quant::stream_layout(settings_, element_count_).bytes();
}

void GradientCodec::quantize_and_update(Context& context, const UpdateTensors& tensors,
                                        const SgdSettings& sgd, const Tensor& step, const Tensor& variance,
                                        const Tensor& buffer) {
    quantize(context, buffer, tensors.gradient, step, variance);
    sgd_update(context, tensors.parameters, tensors.momentum, buffer, tensors.lr, sgd);
}

std::unique_ptr<GradientCodec> make_codec(Context& context, const CodecSettings& settings,
                                          std::int64_t element_count) {
    validate(settings);
    QSTEP_CHECK(element_count >= 1, "a codec for {} elements", element_count);
#ifdef QSTEP_WITH_CUDA
    if (context.device().kind == DeviceKind::cuda) return quant::cuda::make(context, settings, element_count);
#endif
    return quant::cpu::make(context, settings, element_count, quant::cpu::best_isa());
}

std::int64_t first_non_finite(Context& context, const Tensor& tensor) {
#ifdef QSTEP_WITH_CUDA
    if (context.device().kind == DeviceKind::cuda)
        return quant::cuda::first_non_finite(context, tensor.as<float>(), tensor.count());
#endif
    return quant::cpu::first_non_finite(context, tensor.as<float>(), tensor.count());
}

}  // namespace qstep

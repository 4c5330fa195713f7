#include "quant/codec.h"

#include <array>

#include "engine/suggest.h"
#include "quant/cpu/codecs.h"
#include "quant/error_feedback.h"
#ifdef QSTEP_WITH_CUDA
#include "quant/cuda/codecs.h"
#endif
#include "quant/smart.h"

namespace qstep {

namespace {

constexpr std::array<std::string_view, 5> kCodecs{"none", "standard", "smart", "hadamard", "exponential"};
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

CodecKind parse_codec(std::string_view text) {
    return parse<CodecKind>(text, "codec", kCodecs);
}

Rounding parse_rounding(std::string_view text) {
    return parse<Rounding>(text, "rounding", kRoundings);
}

std::span<const std::string_view> codec_names() {
    return kCodecs;
}

const char* name_of(CodecKind kind) {
    return kCodecs[static_cast<std::size_t>(kind)].data();
}

const char* name_of(Rounding rounding) {
    return kRoundings[static_cast<std::size_t>(rounding)].data();
}

void validate(const CodecSettings& settings) {
    if (settings.kind == CodecKind::none) {
        if (settings.error_feedback) fail_usage("error feedback needs a codec; none leaves no error");
        return;
    }
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
    for (const double share : {settings.ef_alpha, settings.ef_beta})
        if (!(share >= 0.0 && share <= 1.0))
            fail_usage("error feedback's alpha and beta are numbers from 0 to 1, got {}", share);
}

void GradientCodec::quantize_and_update(Context& context, const UpdateTensors& tensors,
                                        const SgdSettings& sgd, const Tensor& step, const Tensor& variance,
                                        const Tensor& buffer) {
    quantize(context, buffer, tensors.gradient, step, variance);
    sgd_update(context, tensors.parameters, tensors.momentum, buffer, tensors.lr, sgd);
}

void GradientCodec::set_residual(const Tensor&) {
    QSTEP_CHECK(false, "this codec keeps no residual");
}

namespace {

std::unique_ptr<GradientCodec> make_bare_codec(Context& context, const CodecSettings& settings,
                                               std::int64_t element_count) {
#ifdef QSTEP_WITH_CUDA
    if (context.device().kind == DeviceKind::cuda) return quant::cuda::make(context, settings, element_count);
#endif
    return quant::cpu::make(context, settings, element_count, quant::cpu::best_isa());
}

}  // namespace

std::unique_ptr<GradientCodec> make_codec(Context& context, const CodecSettings& settings,
                                          std::int64_t element_count) {
    validate(settings);
    QSTEP_CHECK(element_count >= 1, "a codec for {} elements", element_count);
    auto codec = make_bare_codec(context, settings, element_count);
    return settings.error_feedback ? with_error_feedback(std::move(codec), element_count) : std::move(codec);
}

std::int64_t first_non_finite(Context& context, const Tensor& tensor) {
#ifdef QSTEP_WITH_CUDA
    if (context.device().kind == DeviceKind::cuda)
        return quant::cuda::first_non_finite(context, tensor.as<float>(), tensor.count());
#endif
    return quant::cpu::first_non_finite(context, tensor.as<float>(), tensor.count());
}

}  // namespace qstep

#include "quant/codec.h"

#include <array>

#include "engine/suggest.h"
#include "quant/cpu/codecs.h"
#include "quant/error_feedback.h"
#include "quant/natural.h"
#ifdef QSTEP_WITH_CUDA
#include "quant/cuda/codecs.h"
#endif
#include "quant/parameters.h"
#include "quant/smart.h"
#include "quant/stream.h"

namespace qstep {

namespace {

constexpr std::array<std::string_view, kCodecCount> kCodecs{"none",        "standard", "smart",    "hadamard",
                                                            "exponential", "qsgd",     "terngrad", "sign",
                                                            "natural",     "dorefa",   "fixed"};
constexpr std::array<std::string_view, 2> kNorms{"l2", "max"};
constexpr std::array<std::string_view, 2> kPoints{"even", "random"};
constexpr std::array<std::string_view, 3> kSolvers{"sample", "exact", "histogram"};
constexpr std::array<std::string_view, 2> kRoundings{"stochastic", "nearest"};

bool draws_points(const CodecSettings& settings) {
    return settings.kind == CodecKind::standard && settings.points == Points::random;
}

std::int64_t most_levels(const CodecSettings& settings) {
    if (draws_points(settings)) return quant::Smart::kMaxLevels;
    switch (settings.kind) {
        case CodecKind::smart:
            return quant::Smart::kMaxLevels;
        case CodecKind::exponential:
            return 128;
        case CodecKind::none:
        case CodecKind::standard:
        case CodecKind::hadamard:
        case CodecKind::qsgd:
        case CodecKind::terngrad:
        case CodecKind::sign:
        case CodecKind::natural:
        case CodecKind::dorefa:
        case CodecKind::fixed:
            return 65536;
    }
    QSTEP_CHECK(false, "unknown codec {}", static_cast<int>(settings.kind));
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

Norm parse_norm(std::string_view text) {
    return parse<Norm>(text, "norm", kNorms);
}

Points parse_points(std::string_view text) {
    return parse<Points>(text, "way to place points called", kPoints);
}

Solver parse_solver(std::string_view text) {
    return parse<Solver>(text, "solver", kSolvers);
}

const char* name_of(Solver solver) {
    return kSolvers[static_cast<std::size_t>(solver)].data();
}

const char* name_of(Norm norm) {
    return kNorms[static_cast<std::size_t>(norm)].data();
}

const char* name_of(Points points) {
    return kPoints[static_cast<std::size_t>(points)].data();
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

bool takes_levels(CodecKind kind) {
    return kind == CodecKind::standard || kind == CodecKind::smart || kind == CodecKind::hadamard ||
           kind == CodecKind::exponential || kind == CodecKind::qsgd || kind == CodecKind::dorefa;
}

namespace {

void validate_levels(const CodecSettings& settings) {
    const char* name = name_of(settings.kind);
    const std::int64_t least = settings.kind == CodecKind::qsgd ? 3 : 2, most = most_levels(settings);
    if (settings.levels < least)
        fail_usage("{} needs at least {} levels, got {}", name, least, settings.levels);
    if (settings.levels > most)
        fail_usage("{}{} has at most {} levels, got {}", name,
                   draws_points(settings) ? " with random points" : "", most, settings.levels);
    if (settings.kind == CodecKind::exponential && settings.levels % 2 != 0)
        fail_usage("exponential needs an even number of levels, one sign for each magnitude, got {}",
                   settings.levels);
}

void validate_fixed_point(std::int64_t integer, std::int64_t fraction) {
    constexpr std::int64_t kMostBits = 16;
    if (integer < 1 || fraction < 0 || integer > kMostBits || fraction > kMostBits - integer)
        fail_usage(
            "fixed takes at least 1 integer bit (the sign's), no fewer than 0 fraction bits and at "
            "most {} in all, got {} and {}",
            kMostBits, integer, fraction);
}

}  // namespace

void validate(const CodecSettings& settings) {
    if (settings.kind == CodecKind::none) {
        if (settings.error_feedback) fail_usage("error feedback needs a codec; none leaves no error");
        return;
    }
    if (takes_levels(settings.kind)) validate_levels(settings);
    if (settings.bucket_size == 0 || settings.bucket_size < -1)
        fail_usage(
            "the bucket size is a number of elements, at least 1, or -1 for the whole gradient; got {}",
            settings.bucket_size);
    const double percent = settings.smart_candidates_percent;
    if (settings.kind == CodecKind::smart && !(percent > 0.0 && percent <= 100.0))
        fail_usage("smart's candidates are a percentage above 0 and up to 100, got {}", percent);
    if (settings.kind == CodecKind::fixed) validate_fixed_point(settings.fixed_il, settings.fixed_fl);
    for (const double share : {settings.ef_alpha, settings.ef_beta})
        if (settings.error_feedback && !(share >= 0.0 && share <= 1.0))
            fail_usage("error feedback's alpha and beta are numbers from 0 to 1, got {}", share);
}

quant::Parameters quant::parameters_of(const CodecSettings& settings) {
    switch (settings.kind) {
        case CodecKind::none:
            return {};
        case CodecKind::standard:
            return {settings.levels, static_cast<std::int64_t>(settings.points)};
        case CodecKind::qsgd:
            return {(settings.levels - 1) / 2 * 2 + 1, static_cast<std::int64_t>(settings.qsgd_norm)};
        case CodecKind::terngrad:
            return {3, 0};
        case CodecKind::sign:
            return {2, 0};
        case CodecKind::natural:
            return {Natural::kCodes, 0};
        case CodecKind::fixed:
            return {std::int64_t{1} << (settings.fixed_il + settings.fixed_fl), settings.fixed_fl};
        case CodecKind::smart:
        case CodecKind::hadamard:
        case CodecKind::exponential:
        case CodecKind::dorefa:
            return {settings.levels, 0};
    }
    QSTEP_CHECK(false, "unknown codec {}", static_cast<int>(settings.kind));
}

bool quant::rounds_to_nearest(const CodecSettings& settings) {
    return settings.rounding == Rounding::nearest || settings.kind == CodecKind::sign;
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

void GradientCodec::set_residual(const Tensor&, const Tensor&) {
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

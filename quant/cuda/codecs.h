// The CUDA codecs and what makes them; arguments as make_codec (quant/codec.h), already validated.
#pragma once

#include <memory>

#include "quant/codec.h"

namespace qstep::quant::cuda {

std::unique_ptr<GradientCodec> make_none(Context& context, const CodecSettings& settings, std::int64_t count);
std::unique_ptr<GradientCodec> make_smart(Context& context, const CodecSettings& settings,
                                          std::int64_t count);
std::unique_ptr<GradientCodec> make_hadamard(Context& context, const CodecSettings& settings,
                                             std::int64_t count);
/// The codec that is this algorithm (quant/formulas.h), instantiated in the file of its name.
template <typename Algorithm>
std::unique_ptr<GradientCodec> make_formula(Context& context, const CodecSettings& settings,
                                            std::int64_t count);

/// The one of settings.kind.
std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count);

std::int64_t first_non_finite(Context& context, const float* x, std::int64_t n);

}  // namespace qstep::quant::cuda

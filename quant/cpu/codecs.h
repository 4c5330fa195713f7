// The CPU codecs and what makes them; `isa` is for tests, everyone else takes best_isa(). Arguments as
// make_codec (quant/codec.h), already validated.
#pragma once

#include <memory>

#include "quant/codec.h"
#include "quant/cpu/isa.h"

namespace qstep::quant::cpu {

std::unique_ptr<GradientCodec> make_none(Context& context, const CodecSettings& settings, std::int64_t count,
                                         Isa isa);
std::unique_ptr<GradientCodec> make_smart(Context& context, const CodecSettings& settings, std::int64_t count,
                                          Isa isa);
std::unique_ptr<GradientCodec> make_hadamard(Context& context, const CodecSettings& settings,
                                             std::int64_t count, Isa isa);
/// The codec that is this algorithm (quant/formulas.h), defined in the file of its name.
template <typename Algorithm>
std::unique_ptr<GradientCodec> make_formula(Context& context, const CodecSettings& settings,
                                            std::int64_t count, Isa isa);

/// The one of settings.kind.
std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count,
                                    Isa isa);

std::int64_t first_non_finite(Context& context, const float* x, std::int64_t n);

}  // namespace qstep::quant::cpu

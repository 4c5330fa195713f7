// Conversions between element types.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// to[i] = from[i], f32 <-> bf16 (round to nearest even) or same type. NaN stays NaN. Same count; shapes
/// may differ. Throws on other types. Deterministic. No aliasing.
void convert(Context& context, const Tensor& to, const Tensor& from);

}  // namespace qstep

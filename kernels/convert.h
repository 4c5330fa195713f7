// Conversions between element types.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// to[i] = from[i], f32 <-> bf16 (round to nearest even) or same type. NaN stays NaN. Same count; shapes
/// may differ. Throws on other types. Deterministic. No aliasing.
void convert(Context& context, const Tensor& to, const Tensor& from);

namespace detail {

/// Throws unless the counts are the same and there is a conversion between the types.
inline void check_conversion(const Tensor& to, const Tensor& from) {
    QSTEP_CHECK(to.count() == from.count(), "conversion from {} to {}: the counts differ",
                from.shape.to_string(), to.shape.to_string());
    const auto is_float = [](DType type) { return type == DType::f32 || type == DType::bf16; };
    QSTEP_CHECK(to.dtype == from.dtype || (is_float(to.dtype) && is_float(from.dtype)),
                "there is no conversion from {} to {}", name_of(from.dtype), name_of(to.dtype));
}

}  // namespace detail

}  // namespace qstep

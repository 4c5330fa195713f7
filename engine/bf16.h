// bfloat16: the upper half of a float32. Storage type; arithmetic happens in float32.
#pragma once

#include <bit>
#include <cstdint>

#include "engine/macros.h"

namespace qstep {

/// The 16 bits, of which the highest is the sign.
struct bf16 {
    std::uint16_t bits;
};
static_assert(sizeof(bf16) == 2);

/// Exact widening.
QSTEP_HOST_DEVICE inline float to_float(bf16 x) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}
/// The same for generic code: x itself.
QSTEP_HOST_DEVICE inline float to_float(float x) {
    return x;
}

/// Round to nearest, ties to even; NaN stays NaN (quieted), overflow becomes infinity.
QSTEP_HOST_DEVICE inline bf16 to_bf16(float x) {
    const auto u = std::bit_cast<std::uint32_t>(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// x as a float or, rounded by to_bf16(), as a bf16.
template <typename T>
QSTEP_HOST_DEVICE inline T from_float(float x);
template <>
QSTEP_HOST_DEVICE inline float from_float<float>(float x) {
    return x;
}
template <>
QSTEP_HOST_DEVICE inline bf16 from_float<bf16>(float x) {
    return to_bf16(x);
}

}  // namespace qstep

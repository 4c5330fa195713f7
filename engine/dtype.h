// Element types a tensor can hold.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/bf16.h"

namespace qstep {

/// Little-endian; u8, i32, i64 are whole numbers.
enum class DType : std::uint8_t { f32, bf16, u8, i32, i64, f64 };

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "f32", "bf16", "u8", "i32", "i64", "f64".
const char* name_of(DType dtype);

/// The element type that a C++ type stands for, as `value`.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
    static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<bf16> {
    static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<std::uint8_t> {
    static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::int32_t> {
    static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
    static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<double> {
    static constexpr DType value = DType::f64;
};

}  // namespace qstep

// Loads and stores of several elements of global memory at once: 16 bytes a thread where the addresses allow
// it.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/bf16.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

/// Elements of one 16-byte access.
template <typename T>
inline constexpr int kVectorOf = 16 / static_cast<int>(sizeof(T));

/// Whether all of these addresses suit 16-byte accesses; absent ones do.
template <typename... Pointers>
bool aligned_for_vectors(const Pointers*... pointers) {
    return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// kCount elements as they lie in memory, kept in registers until they are needed as floats.
template <typename T, int kCount>
struct Packed {
    static_assert(kCount % kVectorOf<T> == 0);
    static constexpr int kParts = kCount / kVectorOf<T>;
    uint4 part[kParts];
};
template <typename T>
struct Packed<T, 1> {
    T value;
};

namespace detail {

__device__ inline uint4 load_16_bytes(const void* from) {
#ifdef __CUDA_ARCH__
    return *static_cast<const uint4*>(from);
#else
    uint4 bytes;
    std::memcpy(&bytes, from, sizeof(bytes));
    return bytes;
#endif
}

__device__ inline std::uint32_t load_4_bytes(const void* from) {
#ifdef __CUDA_ARCH__
    return *static_cast<const std::uint32_t*>(from);
#else
    std::uint32_t bytes;
    std::memcpy(&bytes, from, sizeof(bytes));
    return bytes;
#endif
}

__device__ inline void store_16_bytes(void* to, uint4 bytes) {
#ifdef __CUDA_ARCH__
    *static_cast<uint4*>(to) = bytes;
#else
    std::memcpy(to, &bytes, sizeof(bytes));
#endif
}

/// To global memory only. A plain assignment of 16 bytes is taken apart where another branch stores the same
/// elements one by one, and threads then write every fourth word.
__device__ inline void store_16_bytes_globally(void* to, uint4 bytes) {
#ifdef __CUDA_ARCH__
    __stwb(static_cast<uint4*>(to), bytes);
#else
    std::memcpy(to, &bytes, sizeof(bytes));
#endif
}

__device__ inline float float_of_bits(std::uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

__device__ inline std::uint32_t bits_of_float(float value) {
    std::uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/// Two values as bf16, the first in the lower half.
__device__ inline std::uint32_t bf16_pair(float low, float high) {
#ifdef __CUDA_ARCH__
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return to_bf16(low).bits | static_cast<std::uint32_t>(to_bf16(high).bits) << 16;
#endif
}

__device__ inline void unpack_16_bytes(float* to, uint4 from, float) {
    to[0] = float_of_bits(from.x);
    to[1] = float_of_bits(from.y);
    to[2] = float_of_bits(from.z);
    to[3] = float_of_bits(from.w);
}

__device__ inline void unpack_16_bytes(float* to, uint4 from, bf16) {
    const std::uint32_t word[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        to[2 * i] = float_of_bits(word[i] << 16);
        to[2 * i + 1] = float_of_bits(word[i] & 0xffff0000u);
    }
}

__device__ inline uint4 pack_16_bytes(const float* from, float) {
    return {bits_of_float(from[0]), bits_of_float(from[1]), bits_of_float(from[2]), bits_of_float(from[3])};
}

__device__ inline uint4 pack_16_bytes(const float* from, bf16) {
    return {bf16_pair(from[0], from[1]), bf16_pair(from[2], from[3]), bf16_pair(from[4], from[5]),
            bf16_pair(from[6], from[7])};
}

}  // namespace detail

template <int kCount, typename T>
__device__ Packed<T, kCount> load(const T* from) {
    Packed<T, kCount> packed;
    if constexpr (kCount == 1) {
        packed.value = *from;
    } else {
#pragma unroll
        for (int i = 0; i < packed.kParts; ++i)
            packed.part[i] = detail::load_16_bytes(from + i * kVectorOf<T>);
    }
    return packed;
}

template <int kCount, typename T>
__device__ void store(T* to, const Packed<T, kCount>& packed) {
    if constexpr (kCount == 1) {
        *to = packed.value;
    } else {
#pragma unroll
        for (int i = 0; i < packed.kParts; ++i)
            detail::store_16_bytes_globally(to + i * kVectorOf<T>, packed.part[i]);
    }
}

template <typename T, int kCount>
__device__ void unpack(float (&to)[kCount], const Packed<T, kCount>& from) {
    if constexpr (kCount == 1) {
        to[0] = to_float(from.value);
    } else {
#pragma unroll
        for (int i = 0; i < from.kParts; ++i)
            detail::unpack_16_bytes(to + i * kVectorOf<T>, from.part[i], T{});
    }
}

template <int kCount, typename T>
__device__ void load_floats(float (&to)[kCount], const T* from) {
    unpack(to, load<kCount>(from));
}

template <int kCount, typename T>
__device__ void store_floats(T* to, const float (&from)[kCount]) {
    if constexpr (kCount == 1) {
        *to = from_float<T>(from[0]);
    } else {
#pragma unroll
        for (int i = 0; i < kCount / kVectorOf<T>; ++i)
            detail::store_16_bytes_globally(to + i * kVectorOf<T>,
                                            detail::pack_16_bytes(from + i * kVectorOf<T>, T{}));
    }
}

}  // namespace qstep::cuda

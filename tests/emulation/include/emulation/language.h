// The CUDA C++ that kernels are written in, as C++. The threads of a block are fibers on one OS thread and
// blocks run one after the other, so an atomic is a plain operation, and memory is always up to date.
// A barrier or a warp collective that not all of its threads reach at the same place in the source is
// reported: the launch fails, and cudaGetErrorString says where which threads were. So does that of a kernel
// that may start before its predecessor has ended and has a thread that ends without having waited; on its
// first launch device memory is out of reach until the first thread waits.
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(4) uchar4 {
    unsigned char x, y, z, w;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
inline float2 make_float2(float x, float y) {
    return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

/// Of the thread that runs. Launches are one at a time, whatever OS thread asks for them.
inline constinit dim3 threadIdx{0, 0, 0}, blockIdx{0, 0, 0}, blockDim{1, 1, 1}, gridDim{1, 1, 1};
constexpr int warpSize = 32;

namespace emulation {

/// One entry a lane, written by that lane; valid until the warp's next collective but one.
using WarpValues = const std::uint64_t*;
void block_barrier(std::source_location where);
WarpValues warp_collective(const char* name, unsigned mask, std::uint64_t value, std::source_location where);
/// A barrier that also counts the threads where `predicate` holds.
int counting_barrier(bool predicate, std::source_location where);
void* dynamic_shared();
void wait_for_predecessor();

template <class T>
std::uint64_t to_word(T value) {
    static_assert(sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}
template <class T>
T from_word(std::uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}
template <class T>
T exchange(T* address, T value) {
    const T old = *address;
    *address = value;
    return old;
}
inline int lane() {
    return static_cast<int>(threadIdx.x) % warpSize;
}

}  // namespace emulation

inline void __syncthreads(std::source_location where = std::source_location::current()) {
    emulation::block_barrier(where);
}
inline int __syncthreads_or(int predicate, std::source_location where = std::source_location::current()) {
    return emulation::counting_barrier(predicate != 0, where) > 0;
}
inline int __syncthreads_and(int predicate, std::source_location where = std::source_location::current()) {
    return emulation::counting_barrier(predicate == 0, where) == 0;
}
inline int __syncthreads_count(int predicate, std::source_location where = std::source_location::current()) {
    return emulation::counting_barrier(predicate != 0, where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       std::source_location where = std::source_location::current()) {
    emulation::warp_collective("__syncwarp", mask, 0, where);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source,
              std::source_location where = std::source_location::current()) {
    const auto values = emulation::warp_collective("__shfl_sync", mask, emulation::to_word(value), where);
    return emulation::from_word<T>(values[source & 31]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask,
                  std::source_location where = std::source_location::current()) {
    const auto values = emulation::warp_collective("__shfl_xor_sync", mask, emulation::to_word(value), where);
    return emulation::from_word<T>(values[(emulation::lane() ^ lane_mask) & 31]);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta,
                   std::source_location where = std::source_location::current()) {
    const auto values =
        emulation::warp_collective("__shfl_down_sync", mask, emulation::to_word(value), where);
    const int source = emulation::lane() + static_cast<int>(delta);
    return source < 32 ? emulation::from_word<T>(values[source]) : value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta,
                 std::source_location where = std::source_location::current()) {
    const auto values = emulation::warp_collective("__shfl_up_sync", mask, emulation::to_word(value), where);
    const int source = emulation::lane() - static_cast<int>(delta);
    return source >= 0 ? emulation::from_word<T>(values[source]) : value;
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location where = std::source_location::current()) {
    const auto values = emulation::warp_collective("__ballot_sync", mask, predicate != 0, where);
    unsigned ballot = 0;
    for (int lane = 0; lane < 32; ++lane) ballot |= static_cast<unsigned>(values[lane]) << lane;
    return ballot;
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value,
                                 std::source_location where = std::source_location::current()) {
    const auto values = emulation::warp_collective("__reduce_or_sync", mask, value, where);
    unsigned all = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1u) all |= static_cast<unsigned>(values[lane]);
    return all;
}
inline int __any_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
    return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
    return __ballot_sync(mask, predicate, where) == 0xffffffffu;
}

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, static_cast<T>(*address + value));
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, std::max(*address, value));
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, std::min(*address, value));
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
    return emulation::exchange(address, value);
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    return emulation::exchange(address, *address == expected ? value : *address);
}
inline unsigned atomicInc(unsigned* address, unsigned last) {
    return emulation::exchange(address, *address >= last ? 0u : *address + 1);
}
inline void cudaGridDependencySynchronize() {
    emulation::wait_for_predecessor();
}
inline void cudaTriggerProgrammaticLaunchCompletion() {}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __ldg(const T* address) {
    return *address;
}
template <class T>
T __ldcs(const T* address) {
    return *address;
}
template <class T>
void __stcs(T* address, T value) {
    *address = value;
}

inline unsigned __float_as_uint(float x) {
    return std::bit_cast<unsigned>(x);
}
inline int __float_as_int(float x) {
    return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
    return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
    return std::bit_cast<float>(x);
}
inline int __popc(unsigned x) {
    return std::popcount(x);
}
inline int __clz(int x) {
    return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
    return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((std::uint64_t{a} * b) >> 32);
}
inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}

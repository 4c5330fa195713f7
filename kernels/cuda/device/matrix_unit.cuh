// Products of small bf16 matrices with float32 sums, by all lanes of a warp together (PTX ISA, "ldmatrix" and
// "mma.sync.aligned.m16n8k16"; compute capability 8.0). Which elements a lane has:
//   a [16,16]    four pairs: rows lane/4 and lane/4+8 of columns 2*(lane%4)+{0,1}, then both of columns +8
//   b [16,8]     two pairs: rows 2*(lane%4)+{0,1}, then rows +8, of column lane/4
//   sums [16,8]  row lane/4, columns 2*(lane%4)+{0,1}; then row lane/4+8
#pragma once

#include <cstdint>

#include "engine/bf16.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

/// Reads four 8x8 matrices from shared memory: lane 8i+r gives the address of row r of matrix i, a multiple
/// of 16 bytes. to[i]: elements 2*(lane%4)+{0,1} of row lane/4 of matrix i, or of its column lane/4 where
/// kTransposed.
template <bool kTransposed>
__device__ inline void load_matrices(std::uint32_t (&to)[4], const bf16* row) {
#ifdef QSTEP_EMULATED_CUDA
    ::emulation::load_matrices<kTransposed>(to, row);
#else
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    if constexpr (kTransposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(address)
                     : "memory");
#endif
}

/// sums += a * b.
__device__ inline void multiply_add(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b_low,
                                    std::uint32_t b_high) {
#ifdef QSTEP_EMULATED_CUDA
    ::emulation::multiply_add(sums, a, b_low, b_high);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
#endif
}

}  // namespace qstep::cuda

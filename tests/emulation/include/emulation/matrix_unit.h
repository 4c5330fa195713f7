// The two instructions of the matrix units that kernels use, by the lanes of a warp (PTX ISA, "ldmatrix" and
// "mma.sync.aligned.m16n8k16"). Products of bf16 are exact in float; a GPU's sums may be cut where these are
// rounded.
#pragma once

#include "emulation/language.h"

namespace emulation {

/// Four matrices of 8x8 halfwords: lane 8i+r has the address of row r of matrix i. On return a lane has of
/// each matrix the elements 2*(lane%4) and 2*(lane%4)+1 of row lane/4, or of column lane/4 where kTransposed.
template <bool kTransposed>
void load_matrices(unsigned (&to)[4], const void* row,
                   std::source_location where = std::source_location::current()) {
    const auto rows = warp_collective("ldmatrix", 0xffffffffu, to_word(row), where);
    const auto halfword = [&](int matrix, int of_row, int of_column) {
        std::uint16_t bits;
        std::memcpy(&bits, from_word<const char*>(rows[8 * matrix + of_row]) + 2 * of_column, sizeof(bits));
        return unsigned{bits};
    };
    const int first = lane() / 4, second = 2 * (lane() % 4);
    for (int i = 0; i < 4; ++i)
        to[i] = kTransposed ? halfword(i, second, first) | halfword(i, second + 1, first) << 16
                            : halfword(i, first, second) | halfword(i, first, second + 1) << 16;
    // All have read before one of them goes on to write there.
    warp_collective("ldmatrix", 0xffffffffu, 0, where);
}

/// What a lane brings to a product and takes from it.
struct MatrixOperands {
    float* sums;
    const unsigned* a;
    unsigned b[2];
};
/// The product of a warp, from and into what its 32 lanes have.
void multiply_for_warp(const MatrixOperands* const (&lanes)[32]);

/// sums [16,8] += a [16,16] * b [16,8], spread over the lanes as the instruction has it.
inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], unsigned b_low, unsigned b_high,
                         std::source_location where = std::source_location::current()) {
    const MatrixOperands own{sums, a, {b_low, b_high}};
    const auto values = warp_collective("mma", 0xffffffffu, to_word(&own), where);
    if (lane() == 0) {
        const MatrixOperands* lanes[32];
        for (int i = 0; i < 32; ++i) lanes[i] = from_word<const MatrixOperands*>(values[i]);
        multiply_for_warp(lanes);
    }
    warp_collective("mma", 0xffffffffu, 0, where);  // nobody goes on without the result
}

}  // namespace emulation

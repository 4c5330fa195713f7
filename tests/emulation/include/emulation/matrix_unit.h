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

inline float bf16_half(unsigned pair, int half) {
    return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

/// sums [16,8] += a [16,16] * b [16,8], spread over the lanes as the instruction has it.
inline void multiply_add(float (&sums)[4], const unsigned (&a)[4], unsigned b_low, unsigned b_high,
                         std::source_location where = std::source_location::current()) {
    const int row = lane() / 4, column = 2 * (lane() % 4);
    float left[2][16], right[2][16];
    const auto take = [](float* to, std::uint64_t word) {
        for (int half = 0; half < 2; ++half) {
            to[half] = bf16_half(static_cast<unsigned>(word), half);
            to[8 + half] = bf16_half(static_cast<unsigned>(word >> 32), half);
        }
    };
    const auto pair = [](unsigned low, unsigned high) { return std::uint64_t{high} << 32 | low; };
    for (int half = 0; half < 2; ++half) {
        const auto words = warp_collective("mma", 0xffffffffu, pair(a[half], a[2 + half]), where);
        for (int i = 0; i < 4; ++i) take(left[half] + 2 * i, words[4 * row + i]);
    }
    const auto words = warp_collective("mma", 0xffffffffu, pair(b_low, b_high), where);
    for (int c = 0; c < 2; ++c)
        for (int i = 0; i < 4; ++i) take(right[c] + 2 * i, words[4 * (column + c) + i]);
    for (int half = 0; half < 2; ++half)
        for (int c = 0; c < 2; ++c)
            for (int k = 0; k < 16; ++k) sums[2 * half + c] += left[half][k] * right[c][k];
}

}  // namespace emulation

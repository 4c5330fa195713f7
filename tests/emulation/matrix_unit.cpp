#include "emulation/matrix_unit.h"

namespace emulation {

namespace {

float bf16_half(unsigned pair, int half) {
    return std::bit_cast<float>(half == 0 ? pair << 16 : pair & 0xffff0000u);
}

}  // namespace

void multiply_for_warp(const MatrixOperands* const (&lanes)[32]) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const int row = lane / 4, column = 2 * (lane % 4);
        for (int half = 0; half < 2; ++half) {
            for (int part = 0; part < 4; ++part)
                a[row + 8 * (part % 2)][column + 8 * (part / 2) + half] =
                    bf16_half(lanes[lane]->a[part], half);
            for (int part = 0; part < 2; ++part)
                b[column + 8 * part + half][row] = bf16_half(lanes[lane]->b[part], half);
        }
    }
    for (int row = 0; row < 16; ++row) {
        float sums[8];
        const auto place = [&](int column) {
            return lanes[row % 8 * 4 + column / 2]->sums + 2 * (row / 8) + column % 2;
        };
        for (int column = 0; column < 8; ++column) sums[column] = *place(column);
        for (int k = 0; k < 16; ++k)
            for (int column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
        for (int column = 0; column < 8; ++column) *place(column) = sums[column];
    }
}

}  // namespace emulation

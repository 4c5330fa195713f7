// The arithmetic behind the direct convolution: which taps meet which positions, and how much scratch memory
// the copies of an image take. Pure functions of the shape.
#pragma once

#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cpu/direct_conv_kernels.h"

namespace qstep::cpu::direct {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

/// One axis of the convolution: input extent, output extent, taps, stride, padding.
struct Axis {
    std::int64_t in, out, kernel, stride, pad;
};

/// Positions first, first + stride, ... of an axis of x: those that meet the same taps. Position
/// first + stride*i meets tap[t] through output i + offset[t]; offsets ascend by one.
struct ParityClass {
    std::int64_t first = 0, count = 0;
    int taps = 0;
    int tap[kMaxTaps] = {};
    std::int64_t offset[kMaxTaps] = {};
};
std::vector<ParityClass> parity_classes(const Axis& axis);

/// Smallest and largest offset over all classes (0 where there is none).
struct Reach {
    std::int64_t low, high;
};
Reach reach(const std::vector<ParityClass>& classes);

/// Channels that the weights of one convolution pass lead from and to, and its taps in packed order.
struct PackedTaps {
    int row_taps = 0, row[kMaxTaps] = {};
    int run_taps[2] = {}, column[2][kMaxTaps] = {};
};

/// Everything about one shape and element type.
struct Plan {
    Conv2dShape shape;
    bool narrow;                // bf16
    int in_channels_per_block;  // 16 or 3
    std::int64_t in_blocks, out_blocks;
    Axis vertical, horizontal;
    std::vector<ParityClass> rows, columns;

    PaddedLayout input;  // padded x, for forward
    PackedTaps input_taps;
    PaddedLayout gradient;  // padded dy, for the data gradient (f32: for the weight gradient too)
    std::int64_t gradient_first_row, gradient_first_pixel;  // where dy[0,0] lies
    std::int64_t dy_pairs, dy_first_pair;  // bf16: pairs in a row of dy's pair arrays, and where pair 0 lies
    std::int64_t x_pairs;                  // bf16: pairs in a row of one class of x
};
Plan make_plan(const Conv2dShape& shape, bool narrow);

/// Vectors of 16 channels, and pixels, of a register tile that leads to this many channels.
constexpr int tile_vectors(std::int64_t channels) {
    return channels % (2 * kLanes) == 0 ? 2 : 1;
}
constexpr int tile_pixels(std::int64_t channels) {
    return channels % (2 * kLanes) == 0 ? 8 : 16;
}

/// Words of a pixel in a block of this many channels.
constexpr int words_of(int channels, bool narrow) {
    return narrow ? (channels + 1) / 2 : channels;
}

/// Words that the packed weights from `from_blocks` blocks to `to_channels` take, for these taps.
std::int64_t packed_words(const PackedTaps& taps, std::int64_t from_blocks, int words,
                          std::int64_t to_channels);

/// What pack_weights reads: w[to*to_step + from*from_step + ky*kernel_w + kx].
struct WeightView {
    const float* w;
    std::int64_t to_channels, to_step, from_channels, from_step, kernel_w;
    int from_per_block;
    bool narrow;
};
/// Part `part` of `parts` of: packed [to blocks][from blocks][row taps][runs][words][run taps][vectors*16].
void pack_weights(Word* packed, const WeightView& view, const PackedTaps& taps, int part, int parts);

/// Part `part` of `parts` of: dw[o,i,ky,kx] = (accumulate ? dw : 0) + the sum, in order, of `partials` arrays
/// in the layout of WeightPass, partial_step floats apart. The first array is overwritten.
void unpack_weight_gradient(float* dw, bool accumulate, float* partial, int partials,
                            std::int64_t partial_step, const Plan& plan, int part, int parts);

}  // namespace qstep::cpu::direct

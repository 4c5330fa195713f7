// The seam between the driver of the direct convolution, compiled for any processor, and its loops, compiled
// for AVX-512: plain structs and function pointers. Everything here concerns one image and one thread. No
// inline functions: the linker could keep their AVX-512 version for the whole program.
#pragma once

#include <cstdint>

namespace qstep::cpu::direct {

/// What one lane of a vector multiplies: one f32, or two bf16 that are neighbours along the reduction.
using Word = std::uint32_t;

constexpr int kLanes = 16;     // output channels in a vector
constexpr int kMaxTaps = 3;    // extent of the largest kernel
constexpr int kMaxStride = 2;  // also the number of parity classes of an axis

/// A zero-padded copy of an image, [blocks][planes][rows][pixels][words]: a block is up to 16 channels; with
/// stride 2 the columns are split by parity into planes, so that the pixels of a tile are always neighbours.
struct PaddedLayout {
    std::int64_t blocks = 0, planes = 0, rows = 0, pixels = 0, words = 0;
    std::int64_t row = 0, plane = 0, block = 0, count = 0;  // words in one row, plane, block, and in all
};

/// Memory to be pulled into the second-level cache while other work runs: the next image. Evenly over the
/// work, because a processor has few places for outstanding misses and waits when they are taken.
struct Prefetch {
    struct Stream {
        const char* at = nullptr;
        std::int64_t bytes = 0;
    };
    Stream streams[4];
    int count = 0;
    float bytes_per_operation = 0;  // operation: one vector multiply-add
    float due = 0;                  // bytes
};

/// Moments of one thread's outputs, as in MomentPartials. `first`: the shift is still to be chosen.
struct Moments {
    float* shift = nullptr;
    double* sum = nullptr;
    double* square_sum = nullptr;
    bool first = false;
};

/// x of one image into the padded layout, row h to row h+pad, column w to pixel (w+pad)/stride of plane
/// (w+pad)%stride. Rows and planes that no tap reads are left out. The padding itself is not touched.
struct FillInput {
    const void* x;  // [height,width,channels]
    std::int64_t height, width, channels, stride, pad, kernel_h;
    Word* to;
    PaddedLayout layout;
};

/// dy of one image, [rows,columns,channels]: dz, or a*dz + b*y + c where y is given. Written to `padded`
/// (where not null) and to `even` and `odd` (bf16, where not null), all with their padding left alone.
struct FillGradient {
    const void* dz;
    const void* y;
    const float *a, *b, *c;
    std::int64_t rows, columns, channels;
    Word* padded;  // at row 0, pixel 0 of block 0
    PaddedLayout padded_layout;
    // Pairs of pixels, [blocks][rows][pairs][16 channels]: even pair k is columns (2k, 2k+1), odd pair k is
    // (2k+1, 2k+2); k from -1. At row 0, pair 0 of block 0.
    Word* even;
    Word* odd;
    std::int64_t pair_row, pair_block;  // in words
};

/// bf16: x as pairs of pixels, [blocks][classes][height][pairs][channels of a block]: pair k of class b holds
/// columns stride*2k+b and stride*(2k+1)+b, zero past the edge.
struct FillPairs {
    const void* x;
    std::int64_t height, width, channels, stride;
    Word* to;
    std::int64_t pairs;
};

/// out[r,q,o] (+)= sum over input blocks, row taps and column taps of source * weights: a stride-1
/// convolution of the padded planes. Forward is one pass; a data gradient is one pass per parity class of
/// positions.
struct ConvPass {
    const Word* source;
    std::int64_t source_block, source_row_step;  // words from block to block, from output row to output row
    std::int64_t row_tap[kMaxTaps];              // word offset of each row tap
    int row_taps;
    std::int64_t run[2];  // word offset of the first column tap of each run of neighbouring taps
    int run_taps[2];      // {3,0}, {2,1}, {2,0} or {1,0}
    int words;            // of a pixel
    int blocks;           // input blocks
    int group;            // input blocks whose weights stay in the first-level cache together
    const Word* weights;  // [out blocks][blocks][row taps][runs][words][run taps][vectors * 16]
    int vectors;          // of an output block, 1 or 2
    void* out;
    std::int64_t out_row, out_pixel;  // in elements
    std::int64_t rows, columns, channels;
    bool accumulate;
    const Moments* moments;  // may be null
    Prefetch* prefetch;
};

/// dw[ob,ib,ky,kx,i,o] += sum over rows and steps of x * dy, for the column taps of one parity class.
struct WeightPass {
    const Word* x;                        // at row 0, step 0
    std::int64_t x_row, x_step, x_block;  // words
    std::int64_t height;                  // rows of x
    const Word* dy[kMaxTaps];             // at row 0, step 0, for each column tap
    std::int64_t dy_row, dy_block, rows;  // words, words, rows of dy
    std::int64_t steps;                   // pixels (f32) or pairs of pixels (bf16) of the class
    int taps, tap[kMaxTaps];              // column taps
    int in_blocks, out_blocks, words;     // words: channels of an input block
    std::int64_t kernel_h, kernel_w, stride, pad;
    std::int64_t row_group;  // rows of dy that stay in the first-level cache together with those of x
    float* dw;               // [out blocks][in blocks][kernel_h][kernel_w][words][16]
    Prefetch* prefetch;
};

struct Kernels {
    void (*fill_input)(const FillInput&);
    void (*fill_gradient)(const FillGradient&);
    void (*fill_pairs)(const FillPairs&);  // bf16 only
    void (*convolve)(const ConvPass&);
    void (*weight_gradient)(const WeightPass&);
};

/// Only to be called on a processor that has the instructions.
const Kernels& f32_kernels();
const Kernels& bf16_kernels();

}  // namespace qstep::cpu::direct

#include "kernels/cpu/direct_conv_passes.h"

#include <algorithm>

#include "kernels/cpu/scratch.h"

namespace qstep::cpu::direct {

namespace {

// What should stay in a first-level cache of 32 to 48 KiB while it is used again: the weights of a group of
// input blocks, beside the pixels that stream through; the rows of x and dy of a weight gradient, of which a
// tile reads one block of channels at a time.
constexpr std::int64_t kWeightBytes = 20 * 1024;
constexpr std::int64_t kRowGroupBytes = 33 * 1024;

// Threads never share a page.
constexpr std::size_t kThreadGap = 4096;

std::size_t words(std::int64_t count) {
    return scratch_bytes(static_cast<std::size_t>(count) * sizeof(Word));
}

std::size_t thread_bytes(const Sizes& n) {
    return words(n.input) + words(n.gradient) + 2 * words(n.dy_pairs) + words(n.x_pairs) + words(n.dw) +
           kThreadGap;
}

ConvPass base_pass(const Plan& plan, const PaddedLayout& from, const PackedTaps& taps,
                   std::int64_t channels) {
    ConvPass pass{};
    pass.source_block = from.block;
    pass.row_taps = taps.row_taps;
    pass.run_taps[0] = taps.run_taps[0];
    pass.run_taps[1] = taps.run_taps[1];
    pass.words = static_cast<int>(from.words);
    pass.blocks = static_cast<int>(from.blocks);
    pass.vectors = tile_vectors(channels);
    pass.channels = channels;
    // Sums kept in bf16 memory would be rounded once a group, so bf16 takes all blocks at once.
    const std::int64_t lanes = std::int64_t{pass.vectors} * kLanes;
    const auto block_bytes =
        static_cast<std::int64_t>(sizeof(Word)) * packed_words(taps, 1, pass.words, lanes);
    pass.group = pass.blocks;
    if (!plan.narrow && block_bytes > 0)
        pass.group = static_cast<int>(std::clamp<std::int64_t>(kWeightBytes / block_bytes, 1, pass.blocks));
    return pass;
}

PackedTaps gradient_taps(const ParityClass& row, const ParityClass& column) {
    PackedTaps taps;
    taps.row_taps = row.taps;
    taps.run_taps[0] = column.taps;
    std::copy_n(row.tap, kMaxTaps, taps.row);
    std::copy_n(column.tap, kMaxTaps, taps.column[0]);
    return taps;
}

// Where the pass finds x and dy: pairs of pixels in bf16, the tensor itself and padded dy in f32.
void place_operands(WeightPass& pass, const Plan& plan, const ThreadScratch& scratch,
                    std::size_t column_class) {
    const Conv2dShape& s = plan.shape;
    const ParityClass& c = plan.columns[column_class];
    if (plan.narrow) {
        pass.x_row = plan.x_pairs * pass.words;
        pass.x_step = pass.words;
        pass.x_block = static_cast<std::int64_t>(plan.columns.size()) * s.height * pass.x_row;
        pass.x = scratch.pairs + static_cast<std::int64_t>(column_class) * s.height * pass.x_row;
        pass.dy_row = plan.dy_pairs * kLanes;
        pass.dy_block = s.out_height() * pass.dy_row;
        pass.steps = (c.count + 1) / 2;
    } else {
        pass.x_row = s.width * s.in_channels;
        pass.x_step = s.stride * s.in_channels;
        pass.x_block = kLanes;
        pass.dy_row = plan.gradient.row;
        pass.dy_block = plan.gradient.block;
        pass.steps = c.count;
    }
    for (int t = 0; t < c.taps; ++t) {
        const std::int64_t offset = c.offset[t], odd = offset % 2 != 0 ? 1 : 0;
        pass.tap[t] = c.tap[t];
        if (plan.narrow)
            pass.dy[t] =
                (odd ? scratch.odd : scratch.even) + (plan.dy_first_pair + (offset - odd) / 2) * kLanes;
        else
            pass.dy[t] = scratch.gradient + plan.gradient_first_row * plan.gradient.row +
                         (plan.gradient_first_pixel + offset) * kLanes;
    }
}

}  // namespace

Sizes sizes_of(const Plan& plan) {
    const Conv2dShape& s = plan.shape;
    const std::int64_t taps = s.kernel_h * s.kernel_w;
    Sizes n{};
    n.weights = taps * std::max(s.out_channels * plan.in_blocks * plan.input.words,
                                s.in_channels * plan.out_blocks * plan.gradient.words);
    n.input = plan.input.count;
    n.gradient = plan.gradient.count;
    if (plan.narrow) {
        n.dy_pairs = plan.out_blocks * s.out_height() * plan.dy_pairs * kLanes;
        n.x_pairs = static_cast<std::int64_t>(plan.columns.size()) * s.height * plan.x_pairs * s.in_channels;
    }
    n.dw = s.out_channels * s.in_channels * taps;
    return n;
}

std::size_t total_bytes(const Sizes& sizes, int threads) {
    return words(sizes.weights) + static_cast<std::size_t>(threads) * thread_bytes(sizes);
}

std::int64_t dw_step(const Sizes& sizes) {
    return static_cast<std::int64_t>(thread_bytes(sizes) / sizeof(float));
}

ThreadScratch thread_scratch(void* workspace, const Sizes& n, int thread) {
    auto* base = static_cast<std::byte*>(workspace) + words(n.weights);
    Scratch scratch(base + static_cast<std::size_t>(thread) * thread_bytes(n));
    ThreadScratch t{};
    t.input = scratch.take<Word>(n.input);
    t.gradient = scratch.take<Word>(n.gradient);
    t.even = scratch.take<Word>(n.dy_pairs);
    t.odd = scratch.take<Word>(n.dy_pairs);
    t.pairs = scratch.take<Word>(n.x_pairs);
    t.dw = scratch.take<float>(n.dw);
    return t;
}

ConvPass forward_pass(const Plan& plan, const ThreadScratch& scratch, const Word* weights) {
    const Conv2dShape& s = plan.shape;
    ConvPass pass = base_pass(plan, plan.input, plan.input_taps, s.out_channels);
    pass.source = scratch.input;
    pass.source_row_step = s.stride * plan.input.row;
    for (int t = 0; t < pass.row_taps; ++t) pass.row_tap[t] = t * plan.input.row;
    pass.run[1] = plan.input.plane;
    pass.weights = weights;
    pass.rows = s.out_height();
    pass.columns = s.out_width();
    pass.out_row = s.out_width() * s.out_channels;
    pass.out_pixel = s.out_channels;
    return pass;
}

std::vector<DataPass> data_passes(const Plan& plan) {
    const Conv2dShape& s = plan.shape;
    std::vector<DataPass> passes;
    std::int64_t weights = 0;
    for (const ParityClass& row : plan.rows)
        for (const ParityClass& column : plan.columns) {
            DataPass d{};
            d.taps = gradient_taps(row, column);
            d.reached = row.taps > 0 && column.taps > 0;
            d.pass = base_pass(plan, plan.gradient, d.taps, s.in_channels);
            d.pass.source_row_step = plan.gradient.row;
            for (int t = 0; t < d.pass.row_taps; ++t)
                d.pass.row_tap[t] = (plan.gradient_first_row + row.offset[t]) * plan.gradient.row;
            d.pass.run[0] = (plan.gradient_first_pixel + column.offset[0]) * plan.gradient.words;
            d.pass.rows = row.count;
            d.pass.columns = column.count;
            d.pass.out_row = s.stride * s.width * s.in_channels;
            d.pass.out_pixel = s.stride * s.in_channels;
            d.first = (row.first * s.width + column.first) * s.in_channels;
            d.weights = weights;
            weights += packed_words(d.taps, plan.out_blocks, d.pass.words, s.in_channels);
            passes.push_back(d);
        }
    return passes;
}

WeightPass weight_pass(const Plan& plan, const ThreadScratch& scratch, std::size_t column_class) {
    const Conv2dShape& s = plan.shape;
    WeightPass pass{};
    pass.height = s.height;
    pass.rows = s.out_height();
    pass.taps = plan.columns[column_class].taps;
    pass.words = plan.in_channels_per_block;
    pass.in_blocks = static_cast<int>(plan.in_blocks);
    pass.out_blocks = static_cast<int>(plan.out_blocks);
    pass.kernel_h = s.kernel_h;
    pass.kernel_w = s.kernel_w;
    pass.stride = s.stride;
    pass.pad = s.pad;
    pass.dw = scratch.dw;
    // Equal groups of rows; dy lies there twice in bf16.
    const std::int64_t element = plan.narrow ? sizeof(bf16) : sizeof(float), copies = plan.narrow ? 2 : 1;
    const std::int64_t row_bytes =
        element * (s.stride * s.width * s.in_channels + copies * s.out_width() * s.out_channels);
    const std::int64_t groups = ceil_div(s.out_height() * row_bytes, kRowGroupBytes);
    pass.row_group = ceil_div(s.out_height(), groups);
    place_operands(pass, plan, scratch, column_class);
    return pass;
}

std::int64_t operations_of(const ConvPass& pass) {
    return pass.rows * pass.columns * pass.channels / kLanes * pass.blocks * pass.words * pass.row_taps *
           (pass.run_taps[0] + pass.run_taps[1]);
}

std::int64_t operations_of(const WeightPass& pass) {
    return pass.rows * pass.steps * pass.out_blocks * pass.in_blocks * pass.words * pass.taps * pass.kernel_h;
}

}  // namespace qstep::cpu::direct

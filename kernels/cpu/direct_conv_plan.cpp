#include "kernels/cpu/direct_conv_plan.h"

#include <algorithm>

namespace qstep::cpu::direct {

namespace {

std::int64_t round_up(std::int64_t a, std::int64_t b) {
    return ceil_div(a, b) * b;
}

void set_strides(PaddedLayout& layout) {
    layout.row = layout.pixels * layout.words;
    layout.plane = layout.rows * layout.row;
    layout.block = layout.planes * layout.plane;
    layout.count = layout.blocks * layout.block;
}

// The padded copy of x. A row must also hold what the last tile of a row reads past the image.
void plan_input(Plan& plan) {
    const Conv2dShape& s = plan.shape;
    PaddedLayout& to = plan.input;
    to.blocks = plan.in_blocks;
    to.planes = std::min(s.stride, s.kernel_w);
    to.rows = s.height + 2 * s.pad;
    const std::int64_t tiles = round_up(s.out_width(), tile_pixels(s.out_channels));
    to.pixels = std::max(ceil_div(s.width + 2 * s.pad, s.stride), tiles + ceil_div(s.kernel_w, s.stride) - 1);
    to.words = words_of(plan.in_channels_per_block, plan.narrow);
    set_strides(to);

    PackedTaps& taps = plan.input_taps;
    taps.row_taps = static_cast<int>(s.kernel_h);
    for (int k = 0; k < taps.row_taps; ++k) taps.row[k] = k;
    for (int plane = 0; plane < to.planes; ++plane)
        for (int k = plane; k < s.kernel_w; k += static_cast<int>(s.stride))
            taps.column[plane][taps.run_taps[plane]++] = k;
}

// The padded copy of dy: every i + offset must lie inside, and what the last tile of dx reads past it.
void plan_gradient(Plan& plan) {
    const Reach vertical = reach(plan.rows), horizontal = reach(plan.columns);
    const auto longest = [](const std::vector<ParityClass>& classes) {
        std::int64_t count = 0;
        for (const auto& c : classes) count = std::max(count, c.count);
        return count;
    };
    PaddedLayout& to = plan.gradient;
    to.blocks = plan.out_blocks;
    to.planes = 1;
    plan.gradient_first_row = -vertical.low;
    plan.gradient_first_pixel = -horizontal.low;
    to.rows = plan.gradient_first_row + std::max(plan.vertical.out, longest(plan.rows) + vertical.high);
    const std::int64_t tiles = round_up(longest(plan.columns), tile_pixels(plan.shape.in_channels));
    to.pixels = plan.gradient_first_pixel + std::max(plan.horizontal.out, tiles + horizontal.high);
    to.words = words_of(kLanes, plan.narrow);
    set_strides(to);

    plan.x_pairs = ceil_div(longest(plan.columns), 2);
    plan.dy_first_pair = 1;
    plan.dy_pairs = plan.dy_first_pair + std::max(ceil_div(plan.horizontal.out, 2), plan.x_pairs + 1) + 1;
}

}  // namespace

std::vector<ParityClass> parity_classes(const Axis& axis) {
    std::vector<ParityClass> classes;
    for (std::int64_t first = 0; first < std::min(axis.stride, axis.in); ++first) {
        ParityClass c;
        c.first = first;
        c.count = ceil_div(axis.in - first, axis.stride);
        for (std::int64_t k = axis.kernel - 1; k >= 0; --k) {
            if ((first + axis.pad - k) % axis.stride != 0) continue;
            c.tap[c.taps] = static_cast<int>(k);
            c.offset[c.taps] = (first + axis.pad - k) / axis.stride;
            ++c.taps;
        }
        classes.push_back(c);
    }
    return classes;
}

Reach reach(const std::vector<ParityClass>& classes) {
    Reach r{0, 0};
    for (const auto& c : classes)
        for (int t = 0; t < c.taps; ++t) {
            r.low = std::min(r.low, c.offset[t]);
            r.high = std::max(r.high, c.offset[t]);
        }
    return r;
}

Plan make_plan(const Conv2dShape& shape, bool narrow) {
    Plan plan{};
    plan.shape = shape;
    plan.narrow = narrow;
    plan.in_channels_per_block =
        shape.in_channels % kLanes == 0 ? kLanes : static_cast<int>(shape.in_channels);
    plan.in_blocks = shape.in_channels / plan.in_channels_per_block;
    plan.out_blocks = shape.out_channels / kLanes;
    plan.vertical = {shape.height, shape.out_height(), shape.kernel_h, shape.stride, shape.pad};
    plan.horizontal = {shape.width, shape.out_width(), shape.kernel_w, shape.stride, shape.pad};
    plan.rows = parity_classes(plan.vertical);
    plan.columns = parity_classes(plan.horizontal);
    plan_input(plan);
    plan_gradient(plan);
    return plan;
}

}  // namespace qstep::cpu::direct

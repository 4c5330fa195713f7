// From a plan to what the loops are given: a thread's scratch memory and the passes over one image.
#pragma once

#include <vector>

#include "kernels/cpu/direct_conv_plan.h"

namespace qstep::cpu::direct {

/// Scratch memory of a call, in 4-byte units: packed weights, shared; the rest for each thread.
struct Sizes {
    std::int64_t weights;
    std::int64_t input;              // padded x
    std::int64_t gradient;           // padded dy
    std::int64_t dy_pairs, x_pairs;  // bf16: one pair array of dy, pairs of x
    std::int64_t dw;
};
Sizes sizes_of(const Plan& plan);
std::size_t total_bytes(const Sizes& sizes, int threads);

struct ThreadScratch {
    Word* input;
    Word* gradient;
    Word *even, *odd, *pairs;
    float* dw;
};
ThreadScratch thread_scratch(void* workspace, const Sizes& sizes, int thread);
/// From one thread's dw to the next one's, in floats.
std::int64_t dw_step(const Sizes& sizes);

/// y of one image; the output address and the prefetch are left to the caller, as in the passes below.
ConvPass forward_pass(const Plan& plan, const ThreadScratch& scratch, const Word* weights);

/// dx of one image at the positions of one parity class of rows and one of columns.
struct DataPass {
    ConvPass pass;
    PackedTaps taps;
    std::int64_t weights;  // word offset of its packed weights
    std::int64_t first;    // element of dx
    bool reached;          // by any tap; else dx is 0 there
};
std::vector<DataPass> data_passes(const Plan& plan);

/// dw of one image for the column taps of one class that has any.
WeightPass weight_pass(const Plan& plan, const ThreadScratch& scratch, std::size_t column_class);

/// Vector multiply-adds of a pass, tails of tiles left out.
std::int64_t operations_of(const ConvPass& pass);
std::int64_t operations_of(const WeightPass& pass);

}  // namespace qstep::cpu::direct

// Copies of weights in the type and layout that a device's convolutions and linear layers read. Master
// weights and their gradients are f32 in PyTorch's order. All copies of a network are made at once before its
// forward pass, and all gradients come back at once behind its backward pass: one launch each on a GPU, where
// a launch costs more than the bytes. The CPU makes no copies, its kernels pack for themselves.
#pragma once

#include <optional>
#include <span>

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// Which kernels read a parameter: those of conv2d.h as w, those of linear.h as w or bias, or others.
enum class WeightUse { other, convolution, linear };

/// What a device's kernels take in place of a weight.
struct WeightLayout {
    /// What kernels write of its gradient.
    struct Gradient {
        DType dtype;
        Shape shape;
    };
    DType dtype;
    Shape shape;
    std::optional<Gradient> gradient;  // what its gradient is written as; where absent, into the master's
};

/// The layout for a weight of shape `master` where activations are of type `precision`; nothing where kernels
/// take the weight itself, which is always so on the CPU. On CUDA: convolutions [O,KH,KW,I] of type
/// `precision` for [O,I,KH,KW], and their gradients alike or, where blocks leave sums of their own, f32
/// [P*O,KH,KW,I], P parts that add up to it; linear weights and biases in bf16, without gradient.
std::optional<WeightLayout> weight_layout(const Context& context, WeightUse use, const Shape& master,
                                          DType precision);

/// A weight, its gradient, and what stands for them in kernels.
struct WeightCopy {
    Tensor weight, gradient;     // the masters
    Tensor copy, copy_gradient;  // as weight_layout() says; copy_gradient may be absent
};

/// Every copy = its weight, rounded to nearest even where it is bf16. Deterministic; no aliasing.
void make_weight_copies(Context& context, std::span<const WeightCopy> copies);
/// Every gradient = its copy_gradient, the sum of its parts in their order, or untouched where there is none.
/// Deterministic.
void collect_weight_gradients(Context& context, std::span<const WeightCopy> copies);

}  // namespace qstep

// Own convolutions of few channels in bf16 on the matrix units, joined with the batch normalisation behind
// them: the layers of a CIFAR ResNet, 3x3 from 3 channels to 16 and between 16, 32 or 64, and 3x3 and 1x1
// with stride 2 from 16 to 32 and from 32 to 64. So few channels fill a library's tiles badly, and a launch
// less weighs more than the bytes. Deterministic; formulas in kernels/conv2d.h and kernels/batch_norm.h,
// weights [O,KH,KW,I] in bf16 as in weight_copies.h.
#pragma once

#include "kernels/conv_bn.h"

namespace qstep::cuda {

/// Whether the functions below take the convolution. y has 64x64 pixels at most.
bool is_narrow_conv(const Conv2dShape& shape, DType dtype);

/// Whether x is made by a layer, not an image: then narrow_conv_backward_data() takes the convolution too,
/// and narrow_conv_forward() can normalise x.
inline bool reads_a_layer(const Conv2dShape& shape) {
    return shape.in_channels > 3;
}

/// What the functions that take a workspace ask of it.
std::size_t narrow_conv_bytes(const Conv2dShape& shape);

/// y = convolution of x by w, and what batch_norm_statistics() makes of y; with `from` x is written first, as
/// by batch_norm_apply(). `workspace`: narrow_conv_bytes(), on a multiple of 16. Throws a usage error where a
/// channel has a single value.
void narrow_conv_forward(const Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                         const Normalisation* from, const Tensor& w, const BatchNormStats& stats,
                         const BatchNormParameters& parameters, void* workspace);

/// dy = what batch_norm_backward_apply() makes of dz, y and the sums; dx = its data gradient (or, with `add`,
/// dx += that); with `input` then as batch_norm_backward_reduce() does. dy must not be dz. `workspace`: as
/// above.
void narrow_conv_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                               const Tensor& dy, const Tensor& dz, const Tensor& y, const Tensor& x,
                               const Tensor& w, const Tensor& dgamma, const Tensor& dbeta,
                               const BatchNormStats& stats, const Tensor& gamma, const InputReduction* input,
                               void* workspace);

/// In how many parts the gradient of such filters [O,I,KH,KW] is left, f32 [parts*O,KH,KW,I], for activations
/// of this type: their sum is the gradient. 1 where filters are none of these.
std::int64_t narrow_conv_parts(const Shape& filters, DType dtype);

/// The parts of dw from dy and x: overwritten, or added to with `add`.
void narrow_conv_backward_weights(const Context& context, const Conv2dShape& shape, const Tensor& parts,
                                  bool add, const Tensor& dy, const Tensor& x);

/// The same from the whole gradient (bf16 [O,KH,KW,I]): it becomes the first part, others zero; or with `add`
/// it is added to the first.
void gradient_as_parts(const Context& context, const Tensor& parts, bool add, const Tensor& gradient);

}  // namespace qstep::cuda

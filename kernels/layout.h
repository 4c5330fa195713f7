// NHWC activations to and from PyTorch's NCHW order, where the order of elements is visible: before a linear
// layer. f32 or bf16; both sides of one type. Deterministic. No aliasing.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/tensor.h"

namespace qstep {

/// to [N,C,H,W] = from [N,H,W,C].
void nhwc_to_nchw(Context& context, const Tensor& to, const Tensor& from);
/// to [N,H,W,C] (+)= from [N,C,H,W].
void nchw_to_nhwc(Context& context, const Tensor& to, GradMode mode, const Tensor& from);

namespace detail {
/// Throws unless both hold the same images, one in each order.
inline void check_layouts(const Tensor& nhwc, const Tensor& nchw) {
    QSTEP_CHECK(nhwc.shape.rank() == 4, "NHWC needs four extents, got {}", nhwc.shape.to_string());
    const Shape& s = nhwc.shape;
    check_tensor(nchw, "the NCHW side", nhwc.dtype, {s[0], s[3], s[1], s[2]});
}
}  // namespace detail

}  // namespace qstep

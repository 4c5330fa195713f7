// Direct convolution for small kernels on processors with AVX-512: own register-tiled loops over one image at
// a time, everything an image needs staying in the core's caches. Formulas and layouts are those of
// kernels/conv2d.h. What is special here: the moments of y, and the backward of a batch normalisation behind
// the convolution, ride along without a pass over memory of their own.
//
// f32: fused multiply-add on 16 lanes (AVX-512F). bf16: the dot-product instruction of AVX512_BF16, which
// multiplies pairs of bf16 along the reduction, adds in float32 without intermediate rounding of the product,
// rounds to nearest even and takes subnormal inputs and results as zero.
//
// Each thread takes a fixed, contiguous share of the batch; its sums are added in thread order. So results
// are bitwise repeatable for a fixed number of threads, and y and dx do not depend on that number at all.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/cpu/batch_norm_finish.h"

namespace qstep::cpu::direct {

/// Whether these loops can do this shape on this processor: kernels up to 3x3, stride 1 or 2, padding smaller
/// than the kernel, output channels a multiple of 16, input channels too (or 3: then without a data
/// gradient).
bool supports(const Conv2dShape& shape, DType dtype);

/// Bytes of scratch memory that forward and backward need. Like them, plans a shape once per context.
std::size_t workspace_bytes(const Context& context, const Conv2dShape& shape, DType dtype);

/// y (overwritten) from x and w. With `moments` (blocks = the context's threads, channels = O), also the
/// moments of y as stored; every block's count is set.
void forward(const Context& context, void* workspace, const Conv2dShape& shape, const Tensor& y,
             const Tensor& x, const Tensor& w, MomentPartials* moments);

/// The gradient of the convolution's output: dy itself or, with `y`, a*dz + b*y + c per channel, computed on
/// the fly and rounded to the activations' type as a stored dy would be.
struct OutputGradient {
    Tensor dz = {};
    Tensor y = {};
    const float* a = nullptr;
    const float* b = nullptr;
    const float* c = nullptr;
};

/// dx and dw, each according to its mode (skip: not computed, the tensor may be absent).
void backward(const Context& context, void* workspace, const Conv2dShape& shape, const Tensor& dx,
              GradMode dx_mode, const Tensor& dw, GradMode dw_mode, const OutputGradient& gradient,
              const Tensor& x, const Tensor& w);

}  // namespace qstep::cpu::direct

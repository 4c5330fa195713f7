// The one place that decides how a convolution is computed on the CPU.
#pragma once

#include "kernels/conv2d.h"

namespace qstep::cpu {

/// True: the direct loops (direct_conv.h); false: oneDNN (onednn_conv.h). Direct where it supports the shape
/// and the processor, there is no bias, and rows are long enough to fill its tiles; oneDNN also for bf16 on
/// processors with AMX, whose tile unit has several times the rate of the vector instruction.
bool takes_direct_convolution(const Conv2dShape& shape, DType dtype, bool has_bias);

/// Throws unless the tensors fit the shape; `y` and `x` may also be their gradients.
void check_convolution(const Conv2dShape& shape, const Tensor& y, const Tensor& x, const Tensor& w);

}  // namespace qstep::cpu

// What conv_bn.h's functions need to know about the convolutions they are made of.
#pragma once

#include "kernels/conv2d.h"

namespace qstep::cuda {

/// Bytes at the front of the workspace that any single call of conv2d.h borrows for this shape; what lies
/// behind them survives the call. A multiple of 256. Chooses the plans on first use (see cudnn_plan.h).
std::size_t conv2d_call_bytes(const Context& context, const Conv2dShape& shape, DType dtype, bool training);

}  // namespace qstep::cuda

// Where the own kernels of narrow_conv.h take the place of the library's convolution and the passes beside
// it.
#pragma once

#include "engine/dtype.h"
#include "kernels/conv2d.h"

namespace qstep::cuda {

struct NarrowChoice {
    bool forward;        // narrow_conv_forward() for the convolution and its statistics
    bool backward_data;  // narrow_conv_backward_data() for the gradient of the normalisation and the one of x
    bool backward_weights;  // narrow_conv_backward_weights()
};

/// For one shape and type in training; none where the own kernels do not take it. The faster of both ways,
/// timed once and kept; in deterministic runs always the own, which need no timing. Where the environment's
/// QSTEP_OWN_CONVOLUTIONS is 1 or 0, all own kernels or none. The first call for a shape belongs to laying
/// out, as that of conv_plan() does.
NarrowChoice narrow_choice(const Context& context, const Conv2dShape& shape, DType dtype);

/// The timing itself, for a shape that the own kernels take and plans that the library has: each own kernel,
/// doing all that it does in a step, against the calls it stands for.
NarrowChoice time_narrow_conv(const Context& context, const Conv2dShape& shape, DType dtype);

}  // namespace qstep::cuda

// One element of momentum SGD (formula in kernels/sgd.h), for every kernel that ends in an update. Each
// multiply-add is written as one, so all of them round alike.
#pragma once

#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

struct SgdElement {
    float rate, decay, factor;

    template <bool kNesterov>
    __device__ void update(float& parameter, float& momentum, float gradient) const {
        const float d = fmaf(decay, parameter, gradient);
        momentum = fmaf(factor, momentum, d);
        parameter = fmaf(-rate, kNesterov ? fmaf(factor, momentum, d) : momentum, parameter);
    }
};

}  // namespace qstep::cuda

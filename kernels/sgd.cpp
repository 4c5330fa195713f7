// By itself: the only kernel that codecs need, so that a library of codecs is free of all others.
#include "kernels/sgd.h"

#include "kernels/on_device.h"

namespace qstep {

void sgd_update(Context& context, const Tensor& parameters, const Tensor& momentum, const Tensor& gradient,
                const Tensor& lr, const SgdSettings& settings) {
    return QSTEP_ON_DEVICE(context, sgd_update, parameters, momentum, gradient, lr, settings);
}

}  // namespace qstep

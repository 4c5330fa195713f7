// SGD with momentum and weight decay over flat f32 buffers, as torch.optim.SGD (dampening 0):
//   d = g + weight_decay * p;  m = momentum * m + d;  p = p - lr * (nesterov ? d + momentum * m : m)
// PyTorch sets m = d in the first step; a momentum buffer that starts at zero gives the same. 20 bytes an
// element. Deterministic, whatever the number of threads. A tensor of another type or shape is an internal
// error.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// Constants of a run. Quantization comes before weight decay.
struct SgdSettings {
    float momentum = 0.9f;
    float weight_decay = 1e-4f;
    bool nesterov = false;
};

/// parameters, momentum: [n], updated; gradient: [n]; lr: f32 [1] in device memory. No aliasing.
void sgd_update(Context& context, const Tensor& parameters, const Tensor& momentum, const Tensor& gradient,
                const Tensor& lr, const SgdSettings& settings);

namespace detail {

/// Throws unless types and shapes are those above.
inline void check_sgd(const Tensor& parameters, const Tensor& momentum, const Tensor& gradient,
                      const Tensor& lr) {
    check_tensor(parameters, "parameters", DType::f32, gradient.shape);
    check_tensor(momentum, "momentum", DType::f32, gradient.shape);
    check_tensor(gradient, "gradient", DType::f32, gradient.shape);
    check_tensor(lr, "lr", DType::f32, {1});
}

}  // namespace detail

}  // namespace qstep

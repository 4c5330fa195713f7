#include "kernels/sgd.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace qstep::cpu {

namespace {

template <bool kNesterov>
QSTEP_CLONES void sgd_range(float* parameters, float* momentum, const float* gradient, std::int64_t count,
                            float lr, float decay, float factor) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float d = gradient[i] + decay * parameters[i];
        const float m = factor * momentum[i] + d;
        momentum[i] = m;
        parameters[i] -= lr * (kNesterov ? d + factor * m : m);
    }
}

}  // namespace

void sgd_update(Context& context, const Tensor& parameters, const Tensor& momentum, const Tensor& gradient,
                const Tensor& lr, const SgdSettings& settings) {
    qstep::detail::check_sgd(parameters, momentum, gradient, lr);
    auto *p = parameters.as<float>(), *m = momentum.as<float>();
    const auto* g = gradient.as<float>();
    const float rate = lr.as<float>()[0];
    parallel_elements(context, parameters.count(), [=](std::int64_t begin, std::int64_t end) {
        const auto range = settings.nesterov ? sgd_range<true> : sgd_range<false>;
        range(p + begin, m + begin, g + begin, end - begin, rate, settings.weight_decay, settings.momentum);
    });
}

}  // namespace qstep::cpu

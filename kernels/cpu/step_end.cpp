#include "kernels/step_end.h"

#include <algorithm>
#include <cmath>

#include "kernels/on_device.h"

namespace qstep {

namespace detail {

void check_step_end(const StepEnd& end) {
    check_tensor(end.loss, "loss", DType::f32, {1});
    check_tensor(end.variance, "variance", DType::f64, {1});
    check_tensor(end.gradient, "gradient", DType::f32, {end.gradient.count()});
    check_tensor(end.variance_sum, "sum of variances", DType::f64, {1});
    check_tensor(end.fault, "fault", DType::i64, {2});
    check_tensor(end.fault_loss, "loss at the fault", DType::f32, {1});
    check_tensor(end.step, "step", DType::i64, {1});
    check_tensor(end.batch, "batch", DType::i64, {1});
    check_tensor(end.rates, "learning rates", DType::f32, {end.rates.count()});
    check_tensor(end.learning_rate, "learning rate", DType::f32, {1});
}

}  // namespace detail

namespace cpu {

void end_step(Context&, const StepEnd& end) {
    qstep::detail::check_step_end(end);
    const float loss = *end.loss.as<float>();
    const double variance = *end.variance.as<double>();
    auto* fault = end.fault.as<std::int64_t>();
    if (fault[0] < 0 && (!std::isfinite(loss) || std::isnan(variance))) {
        const auto gradient = end.gradient.span<float>();
        const auto found = std::ranges::find_if(gradient, [](float g) { return !std::isfinite(g); });
        fault[0] = *end.step.as<std::int64_t>();
        fault[1] = found == gradient.end() ? -1 : found - gradient.begin();
        *end.fault_loss.as<float>() = loss;
    }
    *end.variance_sum.as<double>() += variance;
    ++*end.step.as<std::int64_t>();
    const std::int64_t batch = ++*end.batch.as<std::int64_t>();
    if (batch >= 0 && batch < end.rates.count())
        *end.learning_rate.as<float>() = end.rates.as<float>()[batch];
}

}  // namespace cpu

}  // namespace qstep

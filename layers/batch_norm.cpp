#include "layers/batch_norm.h"

#include "kernels/activation.h"

namespace qstep {

BatchNorm2d::BatchNorm2d(ParameterStore& store, const std::string& name, std::int64_t channels, double gamma)
    : store_(&store),
      gamma_(store.add_parameter(name + ".weight", {channels}, Init::constant(gamma))),
      beta_(store.add_parameter(name + ".bias", {channels}, Init::constant(0.0))),
      mean_(store.add_buffer(name + ".running_mean", {channels}, 0.0)),
      var_(store.add_buffer(name + ".running_var", {channels}, 1.0)) {}

const ParameterStore::Parameter& BatchNorm2d::gamma() const {
    return store_->parameters()[static_cast<std::size_t>(gamma_)];
}

const ParameterStore::Parameter& BatchNorm2d::beta() const {
    return store_->parameters()[static_cast<std::size_t>(beta_)];
}

BatchNormParameters BatchNorm2d::tensors() const {
    return {gamma().value, beta().value, store_->buffers()[static_cast<std::size_t>(mean_)].value,
            store_->buffers()[static_cast<std::size_t>(var_)].value};
}

Value* BatchNorm2d::build(Tape& tape, Value* y, Value* residual, bool relu) const {
    QSTEP_CHECK(residual != y, "a batch norm's input cannot be its own residual");
    const std::int64_t channels = gamma().value.count();
    tape.context().workspace().reserve(
        batch_norm_workspace(tape.context(), y->data.count() / channels, channels));
    const BatchNormStats stats{tape.keep(DType::f32, {channels}), tape.keep(DType::f32, {channels})};
    const BatchNormParameters bn = tensors();
    Value* gamma_value = tape.parameter(gamma().value, gamma().grad);
    Value* beta_value = tape.parameter(beta().value, beta().grad);
    Value* out = tape.activation(y->data.dtype, y->data.shape);
    std::vector<Value*> inputs{y, gamma_value, beta_value};
    if (residual) inputs.push_back(residual);

    const auto forward = [=, training = tape.training()](Context& context) {
        if (training)
            batch_norm_statistics(context, stats, bn, y->data);
        else
            batch_norm_running_statistics(context, stats, bn);
        batch_norm_apply(context, out->data, y->data, residual ? residual->data : Tensor{}, relu, stats, bn);
    };
    // dz overwrites dout; it is also the residual's gradient, whose memory the tape may have joined with it.
    const auto backward = [=](Context& context, std::span<const GradMode> modes) {
        const Tensor dz = out->grad;
        batch_norm_backward_reduce(context, dz, gamma_value->grad, beta_value->grad, dz,
                                   relu ? out->data : Tensor{}, y->data, stats);
        if (residual && residual->grad.data != dz.data && modes[3] != GradMode::skip)
            add_backward(context, residual->grad, modes[3], dz);
        if (modes[0] != GradMode::skip)
            batch_norm_backward_apply(context, y->grad, modes[0], dz, y->data, gamma_value->grad,
                                      beta_value->grad, stats, gamma_value->data);
    };
    tape.record({.name = gamma().name,
                 .inputs = inputs,
                 .output = out,
                 .forward = forward,
                 .backward = backward,
                 .gradient_passes_to = residual ? 3 : -1});
    return out;
}

}  // namespace qstep

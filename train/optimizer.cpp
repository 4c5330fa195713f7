#include "train/optimizer.h"

#include "engine/range.h"

namespace qstep {

Optimizer::Optimizer(Context& context, const CodecSettings& codec, const SgdSettings& sgd,
                     std::int64_t parameter_count, bool keep_quantized)
    : codec_(make_codec(context, codec, parameter_count)),
      sgd_(sgd),
      parameter_count_(parameter_count),
      keep_quantized_(keep_quantized) {}

void Optimizer::allocate(Arena& arena, const ParameterStore& parameters) {
    variance_ = arena.allocate(DType::f64, {1});
    // A buffer of its own, so that a gradient that is not finite can still be looked at.
    if (quantizes()) quantized_ = arena.allocate(DType::f32, {parameter_count_});
    if (codec_->settings().error_feedback) codec_->set_residual(parameters.residual());
}

void Optimizer::step(Context& context, const ParameterStore& parameters, const StepState& state) {
    if (!in_one_launch()) {
        quantize(context, parameters, state);
        update(context, parameters, state);
        return;
    }
    const Range range("quantize and update");
    const UpdateTensors tensors{parameters.values(), parameters.momentum(), parameters.gradients(),
                                state.learning_rate};
    codec_->quantize_and_update(context, tensors, sgd_, state.step, variance_, {});
}

void Optimizer::quantize(Context& context, const ParameterStore& parameters, const StepState& state) {
    if (!quantizes()) return;
    const Range range("quantize");
    codec_->quantize(context, quantized_, parameters.gradients(), state.step, variance_);
}

void Optimizer::update(Context& context, const ParameterStore& parameters, const StepState& state) {
    const Range range("update");
    sgd_update(context, parameters.values(), parameters.momentum(), applied_gradient(parameters),
               state.learning_rate, sgd_);
}

Tensor Optimizer::applied_gradient(const ParameterStore& parameters) const {
    return quantizes() ? quantized_ : parameters.gradients();
}

}  // namespace qstep

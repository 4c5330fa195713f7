// What happens to a gradient between backward and the next step: quantize, then momentum SGD.
#pragma once

#include <memory>

#include "engine/arena.h"
#include "kernels/sgd.h"
#include "layers/model.h"
#include "layers/parameters.h"
#include "quant/codec.h"

namespace qstep {

/// Codec and momentum SGD over the flat buffers of a ParameterStore.
class Optimizer {
  public:
    /// Plans for the gradients of a store with all its parameters declared; reserves workspace in `context`.
    /// keep_quantized: the quantized gradient of every step is wanted, so it is written to memory also where
    /// a step could do without.
    Optimizer(Context& context, const CodecSettings& codec, const SgdSettings& sgd,
              std::int64_t parameter_count, bool keep_quantized = false);

    /// Memory for the variance and the quantized gradient; called once for each phase of
    /// the arena, after the store is allocated in it. Error feedback works on the store's residual.
    void allocate(Arena& arena, const ParameterStore& parameters);

    /// Quantizes and updates, in one launch where the device can and the quantized gradient is not kept
    /// (without quantization too, where it looks for numbers that are not finite); else quantize(), then
    /// update(), which give the same bits. Learning rate and step number are read from
    /// device memory.
    void step(Context& context, const ParameterStore& parameters, const StepState& state);
    /// quantized = codec(gradients); the gradients stay as they are. Nothing to do without quantization.
    void quantize(Context& context, const ParameterStore& parameters, const StepState& state);
    /// Momentum SGD with applied_gradient() on the store's values and momentum.
    void update(Context& context, const ParameterStore& parameters, const StepState& state);

    /// What update() applies, after quantize(), or after a step() that keeps_quantized(): [parameter_count]
    /// f32. Without quantization, the gradients themselves.
    Tensor applied_gradient(const ParameterStore& parameters) const;
    /// f64 [1]: sum of (x-l)(r-x) over all elements of the last step's gradient, 0 without quantization; NaN
    /// when the gradient was not finite and reports_non_finite(). To be zero before the first step.
    Tensor variance() const { return variance_; }
    /// Of the packed stream a gradient would be sent as, all headers included.
    double bits_per_element() const {
        return 8.0 * static_cast<double>(codec_->stream_bytes()) / static_cast<double>(parameter_count_);
    }
    /// Whether the quantized gradient, if there is one, goes through memory in step().
    bool keeps_quantized() const { return !quantizes() || keep_quantized_ || codec_->update_needs_buffer(); }
    /// Whether variance() tells of a gradient that is not finite.
    bool reports_non_finite() const { return quantizes() || in_one_launch(); }
    /// Whether there is a codec.
    bool quantizes() const { return codec_->settings().kind != CodecKind::none; }

  private:
    bool in_one_launch() const { return !keep_quantized_ && !codec_->update_needs_buffer(); }

    std::unique_ptr<GradientCodec> codec_;
    SgdSettings sgd_;
    std::int64_t parameter_count_;
    bool keep_quantized_;
    Tensor quantized_, variance_;
};

}  // namespace qstep

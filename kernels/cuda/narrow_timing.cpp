// Own kernels against what they stand for in a training step, on tensors that exist for this.
#include "engine/error.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/narrow_choice.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/cuda/time_captured.h"
#include "kernels/cuda/trial.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

class Comparison {
  public:
    Comparison(const Context& context, const Conv2dShape& shape, DType dtype)
        : context_(context),
          shape_(shape),
          dtype_(dtype),
          x_(context, dtype, shape.x()),
          before_(context, dtype, shape.x()),
          dx_(context, dtype, shape.x()),
          w_(context, dtype, of_filters(1)),
          dw_(context, dtype, of_filters(1)),
          parts_(context, DType::f32, of_filters(narrow_conv_parts(shape.w(), dtype))),
          y_(context, dtype, shape.y()),
          dz_(context, dtype, shape.y()),
          dy_(context, dtype, shape.y()),
          channels_(context, DType::f32, {8, shape.out_channels}),
          channels_before_(context, DType::f32, {8, shape.in_channels}),
          scratch_(context,
                   std::max({narrow_conv_bytes(shape), norm_bytes(shape.y()), norm_bytes(shape.x())})) {}

    // Convolution and statistics and, where x is a layer's, that layer's normalisation.
    bool own_forward_is_faster() {
        const Normalisation from{
            before_.tensor(), {}, true, stats(channels_before_), parameters(channels_before_)};
        const bool normalises = reads_a_layer(shape_);
        return is_faster(
            ConvPass::forward,
            [&] {
                narrow_conv_forward(context_, shape_, y_.tensor(), x_.tensor(), normalises ? &from : nullptr,
                                    w_.tensor(), stats(channels_), parameters(channels_), scratch_.get());
            },
            [&](const auto& convolve) {
                if (normalises) normalise(context_, x_.tensor(), from);
                convolve({x_.get(), w_.get(), y_.get()});
                take_statistics(context_, stats(channels_), parameters(channels_), y_.tensor(),
                                scratch_.get());
            });
    }
    // The data gradient with the second half of the normalisation's and the first half of the layer before's.
    bool own_data_gradient_is_faster() {
        const Tensor dgamma = channel(channels_, 6), dbeta = channel(channels_, 7),
                     gamma = channel(channels_, 2);
        const InputReduction input{before_.tensor(), channel(channels_before_, 6),
                                   channel(channels_before_, 7), true, stats(channels_before_)};
        return is_faster(
            ConvPass::backward_data,
            [&] {
                narrow_conv_backward_data(context_, shape_, dx_.tensor(), false, dy_.tensor(), dz_.tensor(),
                                          y_.tensor(), x_.tensor(), w_.tensor(), dgamma, dbeta,
                                          stats(channels_), gamma, &input, scratch_.get());
            },
            [&](const auto& convolve) {
                backward_apply(context_, dy_.tensor(), false, dz_.tensor(), y_.tensor(), dgamma, dbeta,
                               stats(channels_), gamma);
                convolve({dx_.get(), w_.get(), dy_.get()});
                reduce_backward(context_, dx_.tensor(), input, x_.tensor(), scratch_.get());
            });
    }
    bool own_weight_gradient_is_faster() {
        return is_faster(
            ConvPass::backward_weights,
            [&] {
                narrow_conv_backward_weights(context_, shape_, parts_.tensor(), false, dy_.tensor(),
                                             x_.tensor());
            },
            [&](const auto& convolve) {
                convolve({x_.get(), dw_.get(), dy_.get()});
                gradient_as_parts(context_, parts_.tensor(), false, dw_.tensor());
            });
    }

  private:
    Shape of_filters(std::int64_t parts) const {
        return {parts * shape_.out_channels, shape_.kernel_h, shape_.kernel_w, shape_.in_channels};
    }
    std::size_t norm_bytes(const Shape& of) const {
        return cuda::batch_norm_workspace(context_, of.count() / of[3], of[3]);
    }
    static Tensor channel(const Trial& channels, std::int64_t index) {
        const std::int64_t count = channels.tensor().shape[1];
        return {static_cast<float*>(channels.get()) + index * count, DType::f32, {count}};
    }
    static BatchNormStats stats(const Trial& of) { return {channel(of, 0), channel(of, 1)}; }
    static BatchNormParameters parameters(const Trial& of) {
        return {channel(of, 2), channel(of, 3), channel(of, 4), channel(of, 5)};
    }

    // theirs(convolve) launches what stands against own(); `convolve` runs the library's plan.
    template <typename Own, typename Theirs>
    bool is_faster(ConvPass pass, const Own& own, const Theirs& theirs) {
        ConvPlan* plan = conv_plan(context_, {shape_, pass, static_cast<std::int64_t>(dtype_), 0});
        QSTEP_CHECK(plan != nullptr, "a narrow convolution that the library does not have");
        const Trial workspace(context_, plan->workspace_bytes());
        const auto time = [&](const auto& launches) {
            return time_captured(stream_of(context_), [&] {
                launches();
                return true;
            });
        };
        const auto convolve = [&](const ConvOperands& operands) {
            plan->run(context_, operands, workspace.get());
        };
        const std::optional<float> library = time([&] { theirs(convolve); }), ours = time(own);
        return !library || (ours && *ours <= *library);
    }

    const Context& context_;
    Conv2dShape shape_;
    DType dtype_;
    Trial x_, before_, dx_, w_, dw_, parts_, y_, dz_, dy_, channels_, channels_before_, scratch_;
};

}  // namespace

NarrowChoice time_narrow_conv(const Context& context, const Conv2dShape& shape, DType dtype) {
    Comparison comparison(context, shape, dtype);
    return {comparison.own_forward_is_faster(),
            reads_a_layer(shape) && comparison.own_data_gradient_is_faster(),
            comparison.own_weight_gradient_is_faster()};
}

}  // namespace qstep::cuda

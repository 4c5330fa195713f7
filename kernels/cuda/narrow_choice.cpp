#include "kernels/cuda/narrow_choice.h"

#include <cstdlib>
#include <optional>
#include <string_view>

#include "engine/cuda/capture.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/cuda/time_captured.h"
#include "kernels/cuda/trial.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

// Both ways, on tensors that exist for this.
class Race {
  public:
    Race(const Context& context, const Conv2dShape& shape, DType dtype)
        : context_(context),
          shape_(shape),
          dtype_(dtype),
          x_(context, dtype, shape.x()),
          w_(context, dtype, {shape.out_channels, shape.kernel_h, shape.kernel_w, shape.in_channels}),
          y_(context, dtype, shape.y()),
          dz_(context, dtype, shape.y()),
          dy_(context, dtype, shape.y()),
          dw_(context, dtype, w_.tensor().shape),
          parts_(context, DType::f32,
                 {narrow_conv_parts(shape.w(), dtype) * shape.out_channels, 3, 3, shape.in_channels}),
          channels_(context, DType::f32, {8, shape.out_channels}),
          scratch_(context, std::max(narrow_conv_bytes(shape),
                                     cuda::batch_norm_workspace(context, rows(), shape.out_channels))) {}

    NarrowChoice winners() {
        const BatchNormStats stats{channel(0), channel(1)};
        const BatchNormParameters parameters{channel(2), channel(3), channel(4), channel(5)};
        const Tensor dgamma = channel(6), dbeta = channel(7);
        const Tensor &x = x_.tensor(), &w = w_.tensor(), &y = y_.tensor(), &dz = dz_.tensor(),
                     &dy = dy_.tensor(), &dw = dw_.tensor(), &parts = parts_.tensor();
        NarrowChoice own{};
        own.forward = is_faster(
            [&] {
                narrow_conv_forward(context_, shape_, y, x, nullptr, w, stats, parameters, scratch_.get());
            },
            ConvPass::forward,
            [&](const auto& convolve) {
                convolve({x.data, w.data, y.data});
                take_statistics(context_, stats, parameters, y, scratch_.get());
            });
        own.backward_data =
            reads_a_layer(shape_) &&
            is_faster(
                [&] {
                    narrow_conv_backward_data(context_, shape_, x, false, dy, dz, y, x, w, dgamma, dbeta,
                                              stats, parameters.gamma, nullptr, scratch_.get());
                },
                ConvPass::backward_data,
                [&](const auto& convolve) {
                    backward_apply(context_, dy, false, dz, y, dgamma, dbeta, stats, parameters.gamma);
                    convolve({x.data, w.data, dy.data});
                });
        own.backward_weights =
            is_faster([&] { narrow_conv_backward_weights(context_, shape_, parts, false, dy, x); },
                      ConvPass::backward_weights,
                      [&](const auto& convolve) {
                          convolve({x.data, dw.data, dy.data});
                          gradient_as_parts(context_, parts, false, dw);
                      });
        return own;
    }

  private:
    std::int64_t rows() const { return shape_.y().count() / shape_.out_channels; }
    Tensor channel(int index) const {
        auto* first = static_cast<float*>(channels_.get());
        return {first + index * shape_.out_channels, DType::f32, {shape_.out_channels}};
    }

    // theirs(convolve) launches what stands against own(); `convolve` runs the library's plan.
    template <typename Own, typename Theirs>
    bool is_faster(const Own& own, ConvPass pass, const Theirs& theirs) {
        ConvPlan* plan = conv_plan(context_, {shape_, pass, static_cast<std::int64_t>(dtype_), 0});
        if (plan == nullptr) return true;
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
    Trial x_, w_, y_, dz_, dy_, dw_, parts_, channels_, scratch_;
};

// QSTEP_OWN_CONVOLUTIONS: 1 all that can be, 0 none, otherwise the faster ones.
std::optional<bool> forced_choice() {
    const char* const value = std::getenv("QSTEP_OWN_CONVOLUTIONS");
    const std::string_view wanted = value == nullptr ? "" : value;
    if (wanted == "0" || wanted == "1") return wanted == "1";
    return std::nullopt;
}

}  // namespace

NarrowChoice narrow_choice(const Context& context, const Conv2dShape& shape, DType dtype) {
    if (!is_narrow_conv(shape, dtype)) return {};
    struct Key {
        Conv2dShape shape;
        std::int64_t dtype;
    };
    const std::optional<bool> forced = forced_choice();
    return context.plans().get<NarrowChoice>(Key{shape, static_cast<std::int64_t>(dtype)}, [&] {
        if (forced)
            return std::make_shared<NarrowChoice>(
                NarrowChoice{*forced, *forced && reads_a_layer(shape), *forced});
        if (context.numerics().deterministic)
            return std::make_shared<NarrowChoice>(NarrowChoice{true, reads_a_layer(shape), true});
        refuse_inside_capture(context, "chooses an algorithm for a convolution");
        return std::make_shared<NarrowChoice>(Race(context, shape, dtype).winners());
    });
}

}  // namespace qstep::cuda

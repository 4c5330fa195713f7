#include "kernels/cuda/narrow_choice.h"

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
          channels_(context, DType::f32, {8, shape.out_channels}),
          scratch_(context, std::max(narrow_conv_bytes(shape),
                                     cuda::batch_norm_workspace(context, rows(), shape.out_channels))) {}

    NarrowChoice winners() {
        const BatchNormStats stats{channel(0), channel(1)};
        const BatchNormParameters parameters{channel(2), channel(3), channel(4), channel(5)};
        const Tensor dgamma = channel(6), dbeta = channel(7);
        NarrowChoice own{};
        own.forward = is_faster(
            [&] { narrow_conv_forward(context_, shape_, y_, x_, w_, stats, parameters, scratch_.get()); },
            ConvPass::forward, [] {},
            [&] { take_statistics(context_, stats, parameters, y_, scratch_.get()); });
        own.backward = is_faster(
            [&] {
                narrow_conv_backward_data(context_, shape_, x_, false, dy_, dz_, y_, w_, dgamma, dbeta, stats,
                                          parameters.gamma);
            },
            ConvPass::backward_data,
            [&] { backward_apply(context_, dy_, false, dz_, y_, dgamma, dbeta, stats, parameters.gamma); },
            [] {});
        return own;
    }

  private:
    std::int64_t rows() const { return shape_.y().count() / shape_.out_channels; }
    Tensor channel(int index) const {
        auto* first = static_cast<float*>(channels_.get());
        return {first + index * shape_.out_channels, DType::f32, {shape_.out_channels}};
    }

    template <typename Own, typename Before, typename After>
    bool is_faster(const Own& own, ConvPass pass, const Before& before, const After& after) {
        ConvPlan* plan = conv_plan(context_, {shape_, pass, static_cast<std::int64_t>(dtype_), 0});
        if (plan == nullptr) return true;
        const Trial workspace(context_, plan->workspace_bytes());
        const Tensor& result = pass == ConvPass::forward ? y_ : dy_;
        const auto time = [&](const auto& launches) {
            return time_captured(stream_of(context_), [&] {
                launches();
                return true;
            });
        };
        const std::optional<float> theirs = time([&] {
            before();
            const Tensor &x = x_, &w = w_;
            plan->run(context_, {x.data, w.data, result.data}, workspace.get());
            after();
        });
        const std::optional<float> ours = time(own);
        return !theirs || (ours && *ours <= *theirs);
    }

    const Context& context_;
    Conv2dShape shape_;
    DType dtype_;
    Trial x_, w_, y_, dz_, dy_, channels_, scratch_;
};

}  // namespace

NarrowChoice narrow_choice(const Context& context, const Conv2dShape& shape, DType dtype) {
    if (!is_narrow_conv(shape, dtype)) return {};
    struct Key {
        Conv2dShape shape;
        std::int64_t dtype;
    };
    return context.plans().get<NarrowChoice>(Key{shape, static_cast<std::int64_t>(dtype)}, [&] {
        if (context.numerics().deterministic) return std::make_shared<NarrowChoice>(NarrowChoice{true, true});
        refuse_inside_capture(context, "chooses an algorithm for a convolution");
        return std::make_shared<NarrowChoice>(Race(context, shape, dtype).winners());
    });
}

}  // namespace qstep::cuda

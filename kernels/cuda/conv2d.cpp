// Convolution by cuDNN. Weights are packed to the layout and type of the computation before each call, and
// weight gradients come back through the same layout in f32; both are a few hundred kilobytes beside
// megabytes of activations.
#include "kernels/cuda/conv2d.h"

#include <algorithm>

#include "kernels/cuda/channel_bias.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/library_scratch.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

std::int64_t code(DType dtype) {
    return static_cast<std::int64_t>(dtype);
}

/// The layout that weights and their gradient have between kernels of ours and cuDNN's.
Tensor packed_weights(void* address, DType dtype, const Conv2dShape& shape) {
    return {address, dtype, {shape.out_channels, shape.kernel_h, shape.kernel_w, shape.in_channels}};
}

std::size_t weight_bytes(const Conv2dShape& shape, DType dtype) {
    return static_cast<std::size_t>(shape.w().count()) * size_of(dtype);
}

ConvPlan& required_plan(const Context& context, const ConvProblem& problem) {
    ConvPlan* plan = conv_plan(context, problem);
    if (plan == nullptr)
        fail_run("the convolution library has no algorithm{}{} for the {}",
                 context.numerics().deterministic ? " that adds in a fixed order" : "",
                 problem.in_bf16() || context.numerics().tf32 ? "" : " without tf32", problem.to_string());
    return *plan;
}

ConvPlan& forward_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return required_plan(context, {shape, ConvPass::forward, code(dtype), code(dtype), 0});
}

ConvPlan& data_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return required_plan(context, {shape, ConvPass::backward_data, code(dtype), code(dtype), 0});
}

/// Adds to what is there; null where no engine can, and the sum takes a pass of its own.
ConvPlan* adding_data_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return conv_plan(context, {shape, ConvPass::backward_data, code(dtype), code(dtype), 1});
}

/// Writes f32 where an engine can, else the type of its operands: cuDNN 9.19 sums products of bf16 in f32 and
/// then rounds the gradient to bf16.
struct WeightsPlan {
    ConvPlan& plan;
    DType result;
};

WeightsPlan weights_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    const ConvProblem in_f32{shape, ConvPass::backward_weights, code(dtype), code(DType::f32), 0};
    if (ConvPlan* plan = conv_plan(context, in_f32); plan != nullptr) return {*plan, DType::f32};
    ConvProblem problem = in_f32;
    problem.result = code(dtype);
    return {required_plan(context, problem), dtype};
}

std::size_t plan_bytes(ConvPlan& plan) {
    return scratch_bytes(plan.workspace_bytes());
}

std::size_t forward_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    return scratch_bytes(weight_bytes(shape, dtype)) + plan_bytes(forward_plan(context, shape, dtype));
}

std::size_t data_bytes(const Context& context, const Conv2dShape& shape, DType dtype, bool add) {
    ConvPlan* adding = add ? adding_data_plan(context, shape, dtype) : nullptr;
    const std::size_t weights = scratch_bytes(weight_bytes(shape, dtype));
    if (adding != nullptr) return weights + plan_bytes(*adding);
    const auto dx_bytes = static_cast<std::size_t>(shape.x().count()) * size_of(dtype);
    return weights + plan_bytes(data_plan(context, shape, dtype)) + (add ? scratch_bytes(dx_bytes) : 0);
}

std::size_t weights_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    const auto [plan, result] = weights_plan(context, shape, dtype);
    return scratch_bytes(weight_bytes(shape, DType::f32)) + plan_bytes(plan) +
           (result == DType::f32 ? 0 : scratch_bytes(weight_bytes(shape, result)));
}

std::size_t bias_bytes(const Conv2dShape& shape) {
    const std::int64_t rows = shape.batch * shape.out_height() * shape.out_width();
    return scratch_bytes(channel_sums_bytes(rows, shape.out_channels));
}

void check_arguments(const Conv2dShape& shape, const Tensor& y, const Tensor& x, const Tensor& w) {
    QSTEP_CHECK(x.dtype == DType::f32 || x.dtype == DType::bf16, "a convolution takes f32 or bf16, not {}",
                name_of(x.dtype));
    check_tensor(x, "x", x.dtype, shape.x());
    check_tensor(y, "y", x.dtype, shape.y());
    check_tensor(w, "w", DType::f32, shape.w());
    for (const Tensor& tensor : {x, y})
        QSTEP_CHECK(alignment_of(tensor.data) == kWidestAlignment,
                    "an activation of a convolution lies at {}, off a multiple of {} bytes", tensor.data,
                    kWidestAlignment);
}

}  // namespace

std::size_t conv2d_call_bytes(const Context& context, const Conv2dShape& shape, DType dtype, bool training) {
    std::size_t bytes = forward_bytes(context, shape, dtype);
    if (training)
        bytes = std::max({bytes, data_bytes(context, shape, dtype, false),
                          data_bytes(context, shape, dtype, true), weights_bytes(context, shape, dtype),
                          bias_bytes(shape)});
    return bytes;
}

void conv2d_forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    check_arguments(shape, y, x, w);
    if (bias) check_tensor(bias, "bias", DType::f32, {shape.out_channels});
    ConvPlan& plan = forward_plan(context, shape, x.dtype);
    LibraryScratch scratch(context, forward_bytes(context, shape, x.dtype));
    const Tensor packed = packed_weights(scratch.take(weight_bytes(shape, x.dtype)), x.dtype, shape);
    pack_weights(context, packed, w);
    plan.run(context, {x.data, packed.data, y.data}, scratch.take(plan.workspace_bytes()));
    if (bias) add_channel_bias(context, y, bias);
}

void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dy, dx, w);
    const bool add = mode == GradMode::accumulate;
    ConvPlan* adding = add ? adding_data_plan(context, shape, dx.dtype) : nullptr;
    LibraryScratch scratch(context, data_bytes(context, shape, dx.dtype, add));
    const Tensor packed = packed_weights(scratch.take(weight_bytes(shape, dx.dtype)), dx.dtype, shape);
    pack_weights(context, packed, w);
    if (adding != nullptr || !add) {
        ConvPlan& plan = adding != nullptr ? *adding : data_plan(context, shape, dx.dtype);
        return plan.run(context, {dx.data, packed.data, dy.data}, scratch.take(plan.workspace_bytes()));
    }
    const Tensor term{scratch.take(dx.bytes()), dx.dtype, dx.shape};
    ConvPlan& plan = data_plan(context, shape, dx.dtype);
    plan.run(context, {term.data, packed.data, dy.data}, scratch.take(plan.workspace_bytes()));
    cuda::add_backward(context, dx, mode, term);
}

void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dy, x, dw);
    if (dbias) {
        check_tensor(dbias, "dbias", DType::f32, {shape.out_channels});
        channel_sums(context, dbias, mode, dy, context.workspace().lend(bias_bytes(shape)));
    }
    const auto [plan, result] = weights_plan(context, shape, x.dtype);
    LibraryScratch scratch(context, weights_bytes(context, shape, x.dtype));
    const Tensor packed = packed_weights(scratch.take(weight_bytes(shape, DType::f32)), DType::f32, shape);
    Tensor computed = packed;
    if (result != DType::f32)
        computed = packed_weights(scratch.take(weight_bytes(shape, result)), result, shape);
    plan.run(context, {x.data, computed.data, dy.data}, scratch.take(plan.workspace_bytes()));
    if (result != DType::f32) cuda::convert(context, packed, computed);
    unpack_weight_gradient(context, dw, mode, packed);
}

}  // namespace qstep::cuda

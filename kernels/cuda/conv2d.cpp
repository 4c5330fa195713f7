// Convolution by cuDNN, and the weight gradient by an own kernel where narrow_choice.h says so. Weights and
// their gradient are the copies of weight_copies.h: [O,KH,KW,I] in the type of the activations, or the
// gradient in parts in f32.
#include "kernels/cuda/conv2d.h"

#include <algorithm>

#include "kernels/cuda/channel_bias.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/library_scratch.h"
#include "kernels/cuda/narrow_choice.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

std::int64_t code(DType dtype) {
    return static_cast<std::int64_t>(dtype);
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
    return required_plan(context, {shape, ConvPass::forward, code(dtype), 0});
}

ConvPlan& data_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return required_plan(context, {shape, ConvPass::backward_data, code(dtype), 0});
}

/// Adds to what is there; null where no engine can, and the sum takes a pass of its own.
ConvPlan* adding_data_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return conv_plan(context, {shape, ConvPass::backward_data, code(dtype), 1});
}

ConvPlan& weights_plan(const Context& context, const Conv2dShape& shape, DType dtype) {
    return required_plan(context, {shape, ConvPass::backward_weights, code(dtype), 0});
}

std::size_t bytes_of(const Shape& shape, DType dtype) {
    return static_cast<std::size_t>(shape.count()) * size_of(dtype);
}

std::size_t forward_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    return scratch_bytes(forward_plan(context, shape, dtype).workspace_bytes());
}

std::size_t data_bytes(const Context& context, const Conv2dShape& shape, DType dtype, bool add) {
    ConvPlan* adding = add ? adding_data_plan(context, shape, dtype) : nullptr;
    if (adding != nullptr) return scratch_bytes(adding->workspace_bytes());
    return scratch_bytes(data_plan(context, shape, dtype).workspace_bytes()) +
           (add ? scratch_bytes(bytes_of(shape.x(), dtype)) : 0);
}

std::size_t weights_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    return scratch_bytes(weights_plan(context, shape, dtype).workspace_bytes()) +
           scratch_bytes(bytes_of(shape.w(), dtype));
}

std::size_t bias_bytes(const Conv2dShape& shape) {
    const std::int64_t rows = shape.batch * shape.out_height() * shape.out_width();
    return scratch_bytes(channel_sums_bytes(rows, shape.out_channels));
}

void check_aligned(std::initializer_list<Tensor> tensors) {
    for (const Tensor& tensor : tensors)
        QSTEP_CHECK(alignment_of(tensor.data) == kWidestAlignment,
                    "an operand of a convolution lies at {}, off a multiple of {} bytes", tensor.data,
                    kWidestAlignment);
}

void check_activations(const Conv2dShape& shape, const Tensor& y, const Tensor& x) {
    QSTEP_CHECK(x.dtype == DType::f32 || x.dtype == DType::bf16, "a convolution takes f32 or bf16, not {}",
                name_of(x.dtype));
    check_tensor(x, "x", x.dtype, shape.x());
    check_tensor(y, "y", x.dtype, shape.y());
    check_aligned({x, y});
}

void check_weights(const Conv2dShape& shape, const Tensor& w, const char* name, DType dtype,
                   std::int64_t parts) {
    check_tensor(w, name, dtype,
                 {parts * shape.out_channels, shape.kernel_h, shape.kernel_w, shape.in_channels});
    check_aligned({w});
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
    check_activations(shape, y, x);
    check_weights(shape, w, "w", x.dtype, 1);
    if (bias) check_tensor(bias, "bias", DType::f32, {shape.out_channels});
    ConvPlan& plan = forward_plan(context, shape, x.dtype);
    plan.run(context, {x.data, w.data, y.data}, context.workspace().lend(plan.workspace_bytes()));
    if (bias) add_channel_bias(context, y, bias);
}

void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_activations(shape, dy, dx);
    check_weights(shape, w, "w", dx.dtype, 1);
    const bool add = mode == GradMode::accumulate;
    ConvPlan* adding = add ? adding_data_plan(context, shape, dx.dtype) : nullptr;
    LibraryScratch scratch(context, data_bytes(context, shape, dx.dtype, add));
    if (adding != nullptr || !add) {
        ConvPlan& plan = adding != nullptr ? *adding : data_plan(context, shape, dx.dtype);
        return plan.run(context, {dx.data, w.data, dy.data}, scratch.take(plan.workspace_bytes()));
    }
    const Tensor term{scratch.take(dx.bytes()), dx.dtype, dx.shape};
    ConvPlan& plan = data_plan(context, shape, dx.dtype);
    plan.run(context, {term.data, w.data, dy.data}, scratch.take(plan.workspace_bytes()));
    cuda::add_backward(context, dx, mode, term);
}

void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    const std::int64_t parts = narrow_conv_parts(shape.w(), x.dtype);
    check_activations(shape, dy, x);
    check_weights(shape, dw, "dw", parts > 1 ? DType::f32 : x.dtype, parts);
    if (dbias) {
        check_tensor(dbias, "dbias", DType::f32, {shape.out_channels});
        channel_sums(context, dbias, mode, dy, context.workspace().lend(bias_bytes(shape)));
    }
    const bool add = mode == GradMode::accumulate;
    if (narrow_choice(context, shape, x.dtype).backward_weights)
        return narrow_conv_backward_weights(context, shape, dw, add, dy, x);
    ConvPlan& plan = weights_plan(context, shape, x.dtype);
    LibraryScratch scratch(context, weights_bytes(context, shape, x.dtype));
    void* workspace = scratch.take(plan.workspace_bytes());
    if (!add && parts == 1) return plan.run(context, {x.data, dw.data, dy.data}, workspace);
    const Tensor term{scratch.take(bytes_of(shape.w(), x.dtype)),
                      x.dtype,
                      {shape.out_channels, shape.kernel_h, shape.kernel_w, shape.in_channels}};
    plan.run(context, {x.data, term.data, dy.data}, workspace);
    if (parts > 1)
        gradient_as_parts(context, dw, add, term);
    else
        cuda::add_backward(context, dw, mode, term);
}

}  // namespace qstep::cuda

// Convolution and batch norm, in one own kernel where narrow_choice.h says so, else as separate calls. Then
// each pass over the activations is a kernel of its own; y and dy go through memory between them, 2 bytes
// (bf16) or 4 (f32) an element, once written and once read.
#include "kernels/conv_bn.h"

#include <algorithm>

#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/conv2d.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/library_scratch.h"
#include "kernels/cuda/narrow_choice.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

// What every call borrows lies at the front, dy behind it.
std::size_t front_bytes(const Context& context, const Conv2dShape& shape, DType dtype, bool training) {
    const std::int64_t rows = shape.batch * shape.out_height() * shape.out_width();
    std::size_t bytes = std::max(conv2d_call_bytes(context, shape, dtype, training),
                                 cuda::batch_norm_workspace(context, rows, shape.out_channels));
    const std::int64_t input_rows = shape.x().count() / shape.in_channels;
    bytes = std::max(bytes, cuda::batch_norm_workspace(context, input_rows, shape.in_channels));
    if (training && is_narrow_conv(shape, dtype)) {
        narrow_choice(context, shape, dtype);  // here, since a captured step must time nothing
        bytes = std::max(bytes, narrow_conv_bytes(shape));
    }
    return scratch_bytes(bytes);
}

std::size_t dy_bytes(const Conv2dShape& shape, DType dtype) {
    return static_cast<std::size_t>(shape.y().count()) * size_of(dtype);
}

bool suits_vectors(std::initializer_list<Tensor> tensors) {
    return std::ranges::all_of(
        tensors, [](const Tensor& tensor) { return alignment_of(tensor.data) == kWidestAlignment; });
}

}  // namespace

std::size_t conv2d_workspace(const Context& context, const Conv2dShape& shape, DType dtype, bool training) {
    return front_bytes(context, shape, dtype, training) + (training ? dy_bytes(shape, dtype) : 0);
}

void conv2d_forward_statistics(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                               const Tensor& w, const BatchNormStats& stats,
                               const BatchNormParameters& parameters) {
    if (narrow_choice(context, shape, x.dtype).forward)
        return narrow_conv_forward(context, shape, y, x, nullptr, w, stats, parameters,
                                   context.workspace().lend(narrow_conv_bytes(shape)));
    cuda::conv2d_forward(context, shape, y, x, w, {});
    cuda::batch_norm_statistics(context, stats, parameters, y);
}

void conv2d_forward_normalising(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                                const Normalisation& from, const Tensor& w, const BatchNormStats& stats,
                                const BatchNormParameters& parameters) {
    if (reads_a_layer(shape) && narrow_choice(context, shape, x.dtype).forward &&
        suits_vectors({from.stats.mean, from.stats.inv_std, from.parameters.gamma, from.parameters.beta}))
        return narrow_conv_forward(context, shape, y, x, &from, w, stats, parameters,
                                   context.workspace().lend(narrow_conv_bytes(shape)));
    cuda::batch_norm_apply(context, x, from.y, from.residual, from.relu, from.stats, from.parameters);
    cuda::conv2d_forward_statistics(context, shape, y, x, w, stats, parameters);
}

void conv2d_backward_through_batch_norm(Context& context, const Conv2dShape& shape, const Tensor& dx,
                                        GradMode dx_mode, const Tensor& dw, const Tensor& dz, const Tensor& y,
                                        const Tensor& x, const Tensor& w, const Tensor& dgamma,
                                        const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma,
                                        const InputReduction* input) {
    const std::size_t front = front_bytes(context, shape, x.dtype, true);
    auto* workspace = static_cast<std::byte*>(context.workspace().lend(front + dy_bytes(shape, x.dtype)));
    const Tensor dy{workspace + front, x.dtype, shape.y()};
    if (dx_mode != GradMode::skip && narrow_choice(context, shape, x.dtype).backward_data &&
        suits_vectors({stats.mean, stats.inv_std, gamma, dgamma, dbeta}) &&
        (input == nullptr || suits_vectors({input->stats.mean}))) {
        narrow_conv_backward_data(context, shape, dx, dx_mode == GradMode::accumulate, dy, dz, y, x, w,
                                  dgamma, dbeta, stats, gamma, input, workspace);
    } else {
        cuda::batch_norm_backward_apply(context, dy, GradMode::overwrite, dz, y, dgamma, dbeta, stats, gamma);
        cuda::conv2d_backward_data(context, shape, dx, dx_mode, dy, w);
        if (input != nullptr) reduce_backward(context, dx, *input, x, workspace);
    }
    cuda::conv2d_backward_weights(context, shape, dw, {}, GradMode::overwrite, dy, x);
}

}  // namespace qstep::cuda

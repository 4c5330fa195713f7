#include "kernels/conv_bn.h"

#include <algorithm>

#include "kernels/cpu/conv2d_dispatch.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/onednn_conv.h"
#include "kernels/cpu/scratch.h"
#include "kernels/on_device.h"

namespace qstep::cpu {

namespace {

std::int64_t rows_of(const Conv2dShape& shape) {
    return shape.batch * shape.out_height() * shape.out_width();
}

std::size_t coefficient_bytes(const Conv2dShape& shape) {
    return scratch_bytes(static_cast<std::size_t>(shape.out_channels) * sizeof(float));
}

// The direct loops' own scratch comes first, then the moments or the three coefficient arrays.
std::size_t fused_bytes(const Context& context, const Conv2dShape& shape) {
    return std::max(MomentPartials::bytes(context.threads(), shape.out_channels),
                    3 * coefficient_bytes(shape));
}

std::size_t direct_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    return scratch_bytes(direct::workspace_bytes(context, shape, dtype));
}

// Separate calls: what each of them borrows lies at the front, dy behind it.
std::size_t separate_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    const std::size_t direct =
        takes_direct_convolution(shape, dtype, false) ? direct_bytes(context, shape, dtype) : 0;
    return scratch_bytes(std::max({onednn::workspace_bytes(context, shape, dtype), direct,
                                   cpu::batch_norm_workspace(context, rows_of(shape), shape.out_channels)}));
}

std::size_t dy_bytes(const Conv2dShape& shape, DType dtype) {
    return static_cast<std::size_t>(shape.y().count()) * size_of(dtype);
}

bool takes_direct_backward(const Conv2dShape& shape, DType dtype, GradMode dx_mode) {
    return takes_direct_convolution(shape, dtype, false) &&
           (dx_mode == GradMode::skip || shape.in_channels != 3);
}

void reduce_input(Context& context, const Tensor& dx, const Tensor& x, const InputReduction& input) {
    cpu::batch_norm_backward_reduce(context, dx, input.dgamma, input.dbeta, dx, input.relu ? x : Tensor{},
                                    input.y, input.stats);
}

}  // namespace

std::size_t conv2d_workspace(const Context& context, const Conv2dShape& shape, DType dtype, bool) {
    // The direct loops leave some intents (a bias, a data gradient of three channels) to oneDNN.
    std::size_t bytes = separate_bytes(context, shape, dtype);
    if (!takes_direct_convolution(shape, dtype, false) || shape.in_channels == 3)
        bytes += dy_bytes(shape, dtype);
    if (takes_direct_convolution(shape, dtype, false))
        bytes = std::max(bytes, direct_bytes(context, shape, dtype) + fused_bytes(context, shape));
    return bytes;
}

void conv2d_forward_statistics(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                               const Tensor& w, const BatchNormStats& stats,
                               const BatchNormParameters& parameters) {
    if (!takes_direct_convolution(shape, x.dtype, false)) {
        cpu::conv2d_forward(context, shape, y, x, w, {});
        cpu::batch_norm_statistics(context, stats, parameters, y);
        return;
    }
    check_convolution(shape, y, x, w);
    const std::size_t own = direct_bytes(context, shape, x.dtype);
    auto* workspace = static_cast<std::byte*>(context.workspace().lend(own + fused_bytes(context, shape)));
    MomentPartials moments = MomentPartials::in(workspace + own, context.threads(), shape.out_channels);
    direct::forward(context, workspace, shape, y, x, w, &moments);
    finish_statistics(stats, parameters, moments);
}

void conv2d_forward_normalising(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                                const Normalisation& from, const Tensor& w, const BatchNormStats& stats,
                                const BatchNormParameters& parameters) {
    cpu::batch_norm_apply(context, x, from.y, from.residual, from.relu, from.stats, from.parameters);
    cpu::conv2d_forward_statistics(context, shape, y, x, w, stats, parameters);
}

void conv2d_backward_through_batch_norm(Context& context, const Conv2dShape& shape, const Tensor& dx,
                                        GradMode dx_mode, const Tensor& dw, const Tensor& dz, const Tensor& y,
                                        const Tensor& x, const Tensor& w, const Tensor& dgamma,
                                        const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma,
                                        const InputReduction* input) {
    check_convolution(shape, y, x, w);
    check_tensor(dz, "dz", x.dtype, shape.y());
    if (dx_mode != GradMode::skip) check_tensor(dx, "dx", x.dtype, shape.x());
    check_tensor(dw, "dw", DType::f32, shape.w());
    if (!takes_direct_backward(shape, x.dtype, dx_mode)) {
        const std::size_t own = separate_bytes(context, shape, x.dtype);
        auto* workspace = static_cast<std::byte*>(context.workspace().lend(own + dy_bytes(shape, x.dtype)));
        const Tensor dy{workspace + own, x.dtype, shape.y()};
        cpu::batch_norm_backward_apply(context, dy, GradMode::overwrite, dz, y, dgamma, dbeta, stats, gamma);
        cpu::conv2d_backward_data(context, shape, dx, dx_mode, dy, w);
        cpu::conv2d_backward_weights(context, shape, dw, {}, GradMode::overwrite, dy, x);
        if (input != nullptr) reduce_input(context, dx, x, *input);
        return;
    }
    const std::size_t own = direct_bytes(context, shape, x.dtype);
    auto* workspace = static_cast<std::byte*>(context.workspace().lend(own + fused_bytes(context, shape)));
    Scratch scratch(workspace + own);
    auto* a = scratch.take<float>(shape.out_channels);
    auto* b = scratch.take<float>(shape.out_channels);
    auto* c = scratch.take<float>(shape.out_channels);
    backward_coefficients(a, b, c, rows_of(shape), dgamma, dbeta, stats, gamma);
    direct::backward(context, workspace, shape, dx, dx_mode, dw, GradMode::overwrite, {dz, y, a, b, c}, x, w);
    if (input != nullptr) reduce_input(context, dx, x, *input);
}

}  // namespace qstep::cpu

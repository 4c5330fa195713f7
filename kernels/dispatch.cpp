// The public kernels: each is the one of the context's device.
#include "kernels/on_device.h"

namespace qstep {

void relu_forward(Context& context, const Tensor& out, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, relu_forward, out, x);
}

void relu_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout, const Tensor& out) {
    return QSTEP_ON_DEVICE(context, relu_backward, dx, mode, dout, out);
}

void add_forward(Context& context, const Tensor& out, const Tensor& a, const Tensor& b) {
    return QSTEP_ON_DEVICE(context, add_forward, out, a, b);
}

void add_backward(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    return QSTEP_ON_DEVICE(context, add_backward, to, mode, from);
}

void dropout_forward(Context& context, const Tensor& out, const Tensor& x, float probability,
                     const DropoutKey& key) {
    return QSTEP_ON_DEVICE(context, dropout_forward, out, x, probability, key);
}

void dropout_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout,
                      float probability, const DropoutKey& key) {
    return QSTEP_ON_DEVICE(context, dropout_backward, dx, mode, dout, probability, key);
}

void gather_training_batch(Context& context, const Tensor& images, const Tensor& labels, const ImageSet& set,
                           const BatchPlace& place, const Tensor& seed) {
    return QSTEP_ON_DEVICE(context, gather_training_batch, images, labels, set, place, seed);
}

void gather_evaluation_batch(Context& context, const Tensor& images, const Tensor& labels,
                             const ImageSet& set, const BatchPlace& place) {
    return QSTEP_ON_DEVICE(context, gather_evaluation_batch, images, labels, set, place);
}

void advance_counters(Context& context, const Tensor& counters) {
    return QSTEP_ON_DEVICE(context, advance_counters, counters);
}

std::size_t batch_norm_workspace(const Context& context, std::int64_t rows, std::int64_t channels) {
    return QSTEP_ON_DEVICE(context, batch_norm_workspace, rows, channels);
}

void batch_norm_statistics(Context& context, const BatchNormStats& stats,
                           const BatchNormParameters& parameters, const Tensor& y) {
    return QSTEP_ON_DEVICE(context, batch_norm_statistics, stats, parameters, y);
}

void batch_norm_running_statistics(Context& context, const BatchNormStats& stats,
                                   const BatchNormParameters& parameters) {
    return QSTEP_ON_DEVICE(context, batch_norm_running_statistics, stats, parameters);
}

void batch_norm_apply(Context& context, const Tensor& out, const Tensor& y, const Tensor& residual, bool relu,
                      const BatchNormStats& stats, const BatchNormParameters& parameters) {
    return QSTEP_ON_DEVICE(context, batch_norm_apply, out, y, residual, relu, stats, parameters);
}

void batch_norm_backward_reduce(Context& context, const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                                const Tensor& dout, const Tensor& out, const Tensor& y,
                                const BatchNormStats& stats) {
    return QSTEP_ON_DEVICE(context, batch_norm_backward_reduce, dz, dgamma, dbeta, dout, out, y, stats);
}

void batch_norm_backward_apply(Context& context, const Tensor& dy, GradMode mode, const Tensor& dz,
                               const Tensor& y, const Tensor& dgamma, const Tensor& dbeta,
                               const BatchNormStats& stats, const Tensor& gamma) {
    return QSTEP_ON_DEVICE(context, batch_norm_backward_apply, dy, mode, dz, y, dgamma, dbeta, stats, gamma);
}

std::size_t conv2d_workspace(const Context& context, const Conv2dShape& shape, DType dtype, bool training) {
    return QSTEP_ON_DEVICE(context, conv2d_workspace, shape, dtype, training);
}

void conv2d_forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    return QSTEP_ON_DEVICE(context, conv2d_forward, shape, y, x, w, bias);
}

void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    return QSTEP_ON_DEVICE(context, conv2d_backward_data, shape, dx, mode, dy, w);
}

void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, conv2d_backward_weights, shape, dw, dbias, mode, dy, x);
}

void conv2d_forward_statistics(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                               const Tensor& w, const BatchNormStats& stats,
                               const BatchNormParameters& parameters) {
    return QSTEP_ON_DEVICE(context, conv2d_forward_statistics, shape, y, x, w, stats, parameters);
}

void conv2d_forward_normalising(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                                const Normalisation& from, const Tensor& w, const BatchNormStats& stats,
                                const BatchNormParameters& parameters) {
    return QSTEP_ON_DEVICE(context, conv2d_forward_normalising, shape, y, x, from, w, stats, parameters);
}

void conv2d_backward_through_batch_norm(Context& context, const Conv2dShape& shape, const Tensor& dx,
                                        GradMode dx_mode, const Tensor& dw, const Tensor& dz, const Tensor& y,
                                        const Tensor& x, const Tensor& w, const Tensor& dgamma,
                                        const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma,
                                        const InputReduction* input) {
    return QSTEP_ON_DEVICE(context, conv2d_backward_through_batch_norm, shape, dx, dx_mode, dw, dz, y, x, w,
                           dgamma, dbeta, stats, gamma, input);
}

std::optional<WeightLayout> weight_layout(const Context& context, WeightUse use, const Shape& master,
                                          DType precision) {
    return QSTEP_ON_DEVICE(context, weight_layout, use, master, precision);
}

void make_weight_copies(Context& context, std::span<const WeightCopy> copies) {
    return QSTEP_ON_DEVICE(context, make_weight_copies, copies);
}

void collect_weight_gradients(Context& context, std::span<const WeightCopy> copies) {
    return QSTEP_ON_DEVICE(context, collect_weight_gradients, copies);
}

void convert(Context& context, const Tensor& to, const Tensor& from) {
    return QSTEP_ON_DEVICE(context, convert, to, from);
}

void nhwc_to_nchw(Context& context, const Tensor& to, const Tensor& from) {
    return QSTEP_ON_DEVICE(context, nhwc_to_nchw, to, from);
}

void nchw_to_nhwc(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    return QSTEP_ON_DEVICE(context, nchw_to_nhwc, to, mode, from);
}

std::size_t linear_workspace(const Context& context, const LinearShape& shape, DType dtype) {
    return QSTEP_ON_DEVICE(context, linear_workspace, shape, dtype);
}

void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    return QSTEP_ON_DEVICE(context, linear_forward, shape, y, x, w, bias);
}

void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    return QSTEP_ON_DEVICE(context, linear_backward_data, shape, dx, mode, dy, w);
}

void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, linear_backward_weights, shape, dw, dbias, mode, dy, x);
}

void max_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, max_pool_forward, shape, y, x);
}

void max_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                       const Tensor& dy, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, max_pool_backward, shape, dx, mode, dy, x);
}

void average_pool_forward(Context& context, const PoolShape& shape, const Tensor& y, const Tensor& x) {
    return QSTEP_ON_DEVICE(context, average_pool_forward, shape, y, x);
}

void average_pool_backward(Context& context, const PoolShape& shape, const Tensor& dx, GradMode mode,
                           const Tensor& dy) {
    return QSTEP_ON_DEVICE(context, average_pool_backward, shape, dx, mode, dy);
}

void end_step(Context& context, const StepEnd& end) {
    return QSTEP_ON_DEVICE(context, end_step, end);
}

void softmax_cross_entropy_forward(Context& context, const Tensor& loss, const Tensor& metrics,
                                   const Tensor& logits, const Tensor& labels) {
    return QSTEP_ON_DEVICE(context, softmax_cross_entropy_forward, loss, metrics, logits, labels);
}

void softmax_cross_entropy_backward(Context& context, const Tensor& dlogits, const Tensor& logits,
                                    const Tensor& labels) {
    return QSTEP_ON_DEVICE(context, softmax_cross_entropy_backward, dlogits, logits, labels);
}

}  // namespace qstep

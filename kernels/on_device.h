// Declares every function of kernels/ once more for each device: qstep::cpu::f and qstep::cuda::f have the
// type of qstep::f, which kernels/dispatch.cpp (sgd.cpp) defines as one of the two. Inside qstep::cpu and
// qstep::cuda write cpu::f or cuda::f: an unqualified f would also find qstep::f through its arguments.
#pragma once

#include "kernels/activation.h"
#include "kernels/batch_assembly.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/conv_bn.h"
#include "kernels/convert.h"
#include "kernels/layout.h"
#include "kernels/linear.h"
#include "kernels/pooling.h"
#include "kernels/sgd.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_end.h"
#include "kernels/weight_copies.h"

/// The declarations, once for both namespaces.
#define QSTEP_DECLARE_KERNELS                                                               \
    decltype(qstep::relu_forward) relu_forward;                                             \
    decltype(qstep::relu_backward) relu_backward;                                           \
    decltype(qstep::add_forward) add_forward;                                               \
    decltype(qstep::add_backward) add_backward;                                             \
    decltype(qstep::dropout_forward) dropout_forward;                                       \
    decltype(qstep::dropout_backward) dropout_backward;                                     \
    decltype(qstep::gather_training_batch) gather_training_batch;                           \
    decltype(qstep::gather_evaluation_batch) gather_evaluation_batch;                       \
    decltype(qstep::advance_counters) advance_counters;                                     \
    decltype(qstep::batch_norm_workspace) batch_norm_workspace;                             \
    decltype(qstep::batch_norm_statistics) batch_norm_statistics;                           \
    decltype(qstep::batch_norm_running_statistics) batch_norm_running_statistics;           \
    decltype(qstep::batch_norm_apply) batch_norm_apply;                                     \
    decltype(qstep::batch_norm_backward_reduce) batch_norm_backward_reduce;                 \
    decltype(qstep::batch_norm_backward_apply) batch_norm_backward_apply;                   \
    decltype(qstep::conv2d_workspace) conv2d_workspace;                                     \
    decltype(qstep::conv2d_forward) conv2d_forward;                                         \
    decltype(qstep::conv2d_backward_data) conv2d_backward_data;                             \
    decltype(qstep::conv2d_backward_weights) conv2d_backward_weights;                       \
    decltype(qstep::conv2d_forward_statistics) conv2d_forward_statistics;                   \
    decltype(qstep::conv2d_forward_normalising) conv2d_forward_normalising;                 \
    decltype(qstep::conv2d_backward_through_batch_norm) conv2d_backward_through_batch_norm; \
    decltype(qstep::weight_layout) weight_layout;                                           \
    decltype(qstep::make_weight_copies) make_weight_copies;                                 \
    decltype(qstep::collect_weight_gradients) collect_weight_gradients;                     \
    decltype(qstep::convert) convert;                                                       \
    decltype(qstep::nhwc_to_nchw) nhwc_to_nchw;                                             \
    decltype(qstep::nchw_to_nhwc) nchw_to_nhwc;                                             \
    decltype(qstep::linear_workspace) linear_workspace;                                     \
    decltype(qstep::linear_forward) linear_forward;                                         \
    decltype(qstep::linear_backward_data) linear_backward_data;                             \
    decltype(qstep::linear_backward_weights) linear_backward_weights;                       \
    decltype(qstep::max_pool_forward) max_pool_forward;                                     \
    decltype(qstep::max_pool_backward) max_pool_backward;                                   \
    decltype(qstep::average_pool_forward) average_pool_forward;                             \
    decltype(qstep::average_pool_backward) average_pool_backward;                           \
    decltype(qstep::sgd_update) sgd_update;                                                 \
    decltype(qstep::end_step) end_step;                                                     \
    decltype(qstep::softmax_cross_entropy_forward) softmax_cross_entropy_forward;           \
    decltype(qstep::softmax_cross_entropy_backward) softmax_cross_entropy_backward;

namespace qstep {
namespace cpu {
QSTEP_DECLARE_KERNELS
}
namespace cuda {
QSTEP_DECLARE_KERNELS
}
}  // namespace qstep

#undef QSTEP_DECLARE_KERNELS

/// The call of `function` on the context's device.
#ifdef QSTEP_WITH_CUDA
#define QSTEP_ON_DEVICE(context, function, ...)                                           \
    ((context).device().kind == DeviceKind::cuda ? cuda::function((context), __VA_ARGS__) \
                                                 : cpu::function((context), __VA_ARGS__))
#else
// A context on another device than the CPU cannot be made.
#define QSTEP_ON_DEVICE(context, function, ...) cpu::function((context), __VA_ARGS__)
#endif

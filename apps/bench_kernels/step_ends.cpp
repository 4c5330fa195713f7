// What a step begins and ends with: its batch, pooling, the linear layer, the loss, the bookkeeping. Shapes
// are ResNet-20's; those of maximum pooling and of the change of layout, which it has not, are AlexNet's.
#include <fmt/format.h>

#include "apps/bench_kernels/work.h"
#include "kernels/batch_assembly.h"
#include "kernels/layout.h"
#include "kernels/linear.h"
#include "kernels/pooling.h"
#include "kernels/softmax_cross_entropy.h"
#include "kernels/step_end.h"

namespace qstep::bench {

namespace {

constexpr std::int64_t kImages = 50000, kClasses = 10, kFeatures = 64;
constexpr PoolShape kGlobalAverage{kBatch, 8, 8, 64, 8, 1}, kMaximum{kBatch, 16, 16, 64, 2, 2};

using Make = Work (*)(Context&, Tensors&, DType);

template <bool kTraining>
Work gather_batch(Context&, Tensors& tensors, DType dtype) {
    const Tensor images = tensors.zeros(dtype, {kBatch, kImageSide, kImageSide, kImageChannels});
    const Tensor labels = tensors.zeros(DType::i32, {kBatch});
    const ImageSet set{tensors.random(DType::u8, {kImages, kImageBytes}),
                       tensors.zeros(DType::u8, {kImages})};
    const BatchPlace place{tensors.indices(kImages, kImages), tensors.zeros(DType::i64, {1}),
                           tensors.zeros(DType::i64, {1}), kBatch};
    [[maybe_unused]] const Tensor seed = tensors.zeros(DType::i64, {1});
    return {.elements = images.count(),
            .bytes = kBatch * kImageBytes + bytes_of({images}),
            .launch = [=](Context& context) {
                if constexpr (kTraining)
                    gather_training_batch(context, images, labels, set, place, seed);
                else
                    gather_evaluation_batch(context, images, labels, set, place);
            }};
}

Work average_pool_forward(Context&, Tensors& tensors, DType dtype) {
    const Tensor x = tensors.random(dtype, kGlobalAverage.x()), y = tensors.zeros(dtype, kGlobalAverage.y());
    return {.elements = x.count(), .bytes = bytes_of({x, y}), .launch = [=](Context& context) {
                qstep::average_pool_forward(context, kGlobalAverage, y, x);
            }};
}

Work average_pool_backward(Context&, Tensors& tensors, DType dtype) {
    const Tensor dy = tensors.random(dtype, kGlobalAverage.y());
    const Tensor dx = tensors.zeros(dtype, kGlobalAverage.x());
    return {.elements = dx.count(), .bytes = bytes_of({dy, dx}), .launch = [=](Context& context) {
                qstep::average_pool_backward(context, kGlobalAverage, dx, GradMode::overwrite, dy);
            }};
}

Work max_pool_forward(Context&, Tensors& tensors, DType dtype) {
    const Tensor x = tensors.random(dtype, kMaximum.x()), y = tensors.zeros(dtype, kMaximum.y());
    return {.elements = x.count(), .bytes = bytes_of({x, y}), .launch = [=](Context& context) {
                qstep::max_pool_forward(context, kMaximum, y, x);
            }};
}

Work max_pool_backward(Context&, Tensors& tensors, DType dtype) {
    const Tensor x = tensors.random(dtype, kMaximum.x()), dy = tensors.random(dtype, kMaximum.y());
    const Tensor dx = tensors.zeros(dtype, kMaximum.x());
    return {.elements = x.count(), .bytes = bytes_of({x, dy, dx}), .launch = [=](Context& context) {
                qstep::max_pool_backward(context, kMaximum, dx, GradMode::overwrite, dy, x);
            }};
}

Work nhwc_to_nchw(Context&, Tensors& tensors, DType dtype) {
    const Tensor from = tensors.random(dtype, {kBatch, 4, 4, 256});
    const Tensor to = tensors.zeros(dtype, {kBatch, 256, 4, 4});
    return {.elements = to.count(), .bytes = bytes_of({from, to}), .launch = [=](Context& context) {
                qstep::nhwc_to_nchw(context, to, from);
            }};
}

Work nchw_to_nhwc(Context&, Tensors& tensors, DType dtype) {
    const Tensor from = tensors.random(dtype, {kBatch, 256, 4, 4});
    const Tensor to = tensors.zeros(dtype, {kBatch, 4, 4, 256});
    return {.elements = to.count(), .bytes = bytes_of({from, to}), .launch = [=](Context& context) {
                qstep::nchw_to_nhwc(context, to, GradMode::overwrite, from);
            }};
}

/// All three passes of ResNet-20's last layer.
Work linear(Context& context, Tensors& tensors, DType dtype) {
    const LinearShape shape{kBatch, kFeatures, kClasses};
    const Tensor x = tensors.random(dtype, {kBatch, kFeatures}), dx = tensors.zeros(dtype, x.shape);
    const Tensor y = tensors.zeros(dtype, {kBatch, kClasses}), dy = tensors.random(dtype, y.shape);
    const Tensor dw = tensors.zeros(DType::f32, {kClasses, kFeatures});
    const Tensor dbias = tensors.zeros(DType::f32, {kClasses});
    const DType weights = layout_of(context, WeightUse::linear, dw.shape, dtype).dtype;
    const Tensor w = tensors.random(weights, dw.shape), bias = tensors.zeros(weights, dbias.shape);
    context.workspace().reserve(linear_workspace(context, shape, dtype));
    return {.elements = y.count(),
            .bytes = bytes_of({x, w, bias, y, dy, w, dx, dy, x, dw, dbias}),
            .launch = [=](Context& on) {
                linear_forward(on, shape, y, x, w, bias);
                linear_backward_data(on, shape, dx, GradMode::overwrite, dy, w);
                linear_backward_weights(on, shape, dw, dbias, GradMode::overwrite, dy, x);
            }};
}

Work softmax_cross_entropy_forward(Context&, Tensors& tensors, DType dtype) {
    const Tensor logits = tensors.random(dtype, {kBatch, kClasses}),
                 labels = tensors.indices(kBatch, kClasses);
    const Tensor loss = tensors.zeros(DType::f32, {1}), metrics = tensors.zeros(DType::f64, {2});
    return {.elements = logits.count(),
            .bytes = bytes_of({logits, labels, loss, metrics, metrics}),
            .launch = [=](Context& context) {
                qstep::softmax_cross_entropy_forward(context, loss, metrics, logits, labels);
            }};
}

Work softmax_cross_entropy_backward(Context&, Tensors& tensors, DType dtype) {
    const Tensor logits = tensors.random(dtype, {kBatch, kClasses}),
                 labels = tensors.indices(kBatch, kClasses);
    const Tensor dlogits = tensors.zeros(dtype, logits.shape);
    return {.elements = logits.count(),
            .bytes = bytes_of({logits, labels, dlogits}),
            .launch = [=](Context& context) {
                qstep::softmax_cross_entropy_backward(context, dlogits, logits, labels);
            }};
}

// Without a fault the gradient is not read.
Work end_step(Context&, Tensors& tensors, DType) {
    StepEnd end;
    for (Tensor* tensor : {&end.loss, &end.fault_loss, &end.rates, &end.learning_rate})
        *tensor = tensors.zeros(DType::f32, {1});
    for (Tensor* tensor : {&end.variance, &end.variance_sum}) *tensor = tensors.zeros(DType::f64, {1});
    for (Tensor* tensor : {&end.step, &end.batch}) *tensor = tensors.zeros(DType::i64, {1});
    end.fault = tensors.zeros(DType::i64, {2});
    end.gradient = tensors.random(DType::f32, {kSizes[2]});
    return {.elements = 1,
            .bytes = bytes_of({end.loss, end.variance, end.variance_sum, end.variance_sum, end.fault,
                               end.step, end.step, end.batch, end.batch, end.rates, end.learning_rate}),
            .launch = [=](Context& context) { qstep::end_step(context, end); }};
}

Work advance_counters(Context&, Tensors& tensors, DType) {
    const Tensor counters = tensors.zeros(DType::i64, {2});
    return {.elements = counters.count(),
            .bytes = bytes_of({counters, counters}),
            .launch = [=](Context& context) { qstep::advance_counters(context, counters); }};
}

struct Pass {
    const char* name;
    Make make;
};
constexpr Pass kPasses[] = {{"gather_training_batch", gather_batch<true>},
                            {"gather_evaluation_batch", gather_batch<false>},
                            {"average_pool_forward", average_pool_forward},
                            {"average_pool_backward", average_pool_backward},
                            {"max_pool_forward", max_pool_forward},
                            {"max_pool_backward", max_pool_backward},
                            {"nhwc_to_nchw", nhwc_to_nchw},
                            {"nchw_to_nhwc", nchw_to_nhwc},
                            {"linear_all_passes", linear},
                            {"softmax_cross_entropy_forward", softmax_cross_entropy_forward},
                            {"softmax_cross_entropy_backward", softmax_cross_entropy_backward}};
constexpr Pass kUntyped[] = {{"end_step", end_step}, {"advance_counters", advance_counters}};

void add(std::vector<Benchmark>& to, const Pass& pass, DType dtype, const std::string& name) {
    to.push_back({name, [make = pass.make, dtype](Context& context, Tensors& tensors) {
                      return make(context, tensors, dtype);
                  }});
}

}  // namespace

void add_step_ends(std::vector<Benchmark>& to) {
    for (const Pass& pass : kPasses)
        for (const DType dtype : kFloats)
            add(to, pass, dtype, fmt::format("{}/{}", pass.name, name_of(dtype)));
    for (const Pass& pass : kUntyped) add(to, pass, DType::f32, pass.name);
}

}  // namespace qstep::bench

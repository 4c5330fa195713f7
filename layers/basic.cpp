#include "layers/basic.h"

#include "kernels/activation.h"
#include "kernels/layout.h"
#include "kernels/linear.h"
#include "kernels/pooling.h"
#include "kernels/softmax_cross_entropy.h"

namespace qstep {

Value* build_relu(Tape& tape, Value* x) {
    Value* y = tape.activation(x->data.dtype, x->data.shape);
    tape.record({.name = "relu",
                 .inputs = {x},
                 .output = y,
                 .forward = [=](Context& context) { relu_forward(context, y->data, x->data); },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         relu_backward(context, x->grad, modes[0], y->grad, y->data);
                     },
                 .gradient_passes_to = 0});
    return y;
}

Value* build_add(Tape& tape, Value* a, Value* b) {
    Value* y = tape.activation(a->data.dtype, a->data.shape);
    tape.record({.name = "add",
                 .inputs = {a, b},
                 .output = y,
                 .forward = [=](Context& context) { add_forward(context, y->data, a->data, b->data); },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         if (modes[1] != GradMode::skip) add_backward(context, b->grad, modes[1], y->grad);
                         if (modes[0] != GradMode::skip && a->grad.data != y->grad.data)
                             add_backward(context, a->grad, modes[0], y->grad);
                     },
                 .gradient_passes_to = 0});
    return y;
}

Value* build_max_pool(Tape& tape, Value* x, std::int64_t kernel, std::int64_t stride) {
    const Shape& in = x->data.shape;
    const PoolShape shape{in[0], in[1], in[2], in[3], kernel, stride};
    Value* y = tape.activation(x->data.dtype, shape.y());
    tape.record({.name = "max_pool",
                 .inputs = {x},
                 .output = y,
                 .forward = [=](Context& context) { max_pool_forward(context, shape, y->data, x->data); },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         max_pool_backward(context, shape, x->grad, modes[0], y->grad, x->data);
                     }});
    return y;
}

Value* build_average_pool(Tape& tape, Value* x, std::int64_t kernel, std::int64_t stride) {
    const Shape& in = x->data.shape;
    const PoolShape shape{in[0], in[1], in[2], in[3], kernel, stride};
    Value* y = tape.activation(x->data.dtype, shape.y());
    tape.record({.name = "average_pool",
                 .inputs = {x},
                 .output = y,
                 .forward = [=](Context& context) { average_pool_forward(context, shape, y->data, x->data); },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         average_pool_backward(context, shape, x->grad, modes[0], y->grad);
                     }});
    return y;
}

Value* build_flatten(Tape& tape, Value* x) {
    const Shape in = x->data.shape;
    Value* y = tape.activation(x->data.dtype, {in[0], in[3] * in[1] * in[2]});
    const auto as_nchw = [in](const Tensor& flat) {
        return Tensor{flat.data, flat.dtype, {in[0], in[3], in[1], in[2]}};
    };
    tape.record({.name = "flatten",
                 .inputs = {x},
                 .output = y,
                 .forward = [=](Context& context) { nhwc_to_nchw(context, as_nchw(y->data), x->data); },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         nchw_to_nhwc(context, x->grad, modes[0], as_nchw(y->grad));
                     }});
    return y;
}

Value* build_dropout(Tape& tape, Value* x, float probability, std::uint32_t layer,
                     const DropoutSource& source) {
    if (!tape.training() || !source.enabled) return x;
    const DropoutKey key{source.seed, layer, source.step};
    Value* y = tape.activation(x->data.dtype, x->data.shape);
    tape.record(
        {.name = "dropout",
         .inputs = {x},
         .output = y,
         .forward = [=](Context& context) { dropout_forward(context, y->data, x->data, probability, key); },
         .backward =
             [=](Context& context, std::span<const GradMode> modes) {
                 dropout_backward(context, x->grad, modes[0], y->grad, probability, key);
             },
         .gradient_passes_to = 0});
    return y;
}

Value* build_loss(Tape& tape, Value* logits, Value* labels, const Tensor& metrics) {
    Value* loss = tape.activation(DType::f32, {1});
    tape.record({.name = "loss",
                 .inputs = {logits, labels},
                 .output = loss,
                 .forward =
                     [=](Context& context) {
                         softmax_cross_entropy_forward(context, loss->data, metrics, logits->data,
                                                       labels->data);
                     },
                 .backward =
                     [=](Context& context, std::span<const GradMode>) {
                         softmax_cross_entropy_backward(context, logits->grad, logits->data, labels->data);
                     }});
    return loss;
}

Linear::Linear(ParameterStore& store, const std::string& name, std::int64_t in_features,
               std::int64_t out_features, Init weight, Init bias)
    : store_(&store),
      in_features_(in_features),
      out_features_(out_features),
      weight_(store.add_parameter(name + ".weight", {out_features, in_features}, weight, WeightUse::linear)),
      bias_(store.add_parameter(name + ".bias", {out_features}, bias, WeightUse::linear)) {}

Linear::Linear(ParameterStore& store, const std::string& name, std::int64_t in_features,
               std::int64_t out_features)
    : Linear(store, name, in_features, out_features, Init::pytorch_default(in_features),
             Init::pytorch_default(in_features)) {}

Value* Linear::build(Tape& tape, Value* x) const {
    const LinearShape shape{x->data.shape[0], in_features_, out_features_};
    QSTEP_CHECK(x->data.count() == shape.batch * in_features_, "a linear layer of {} features is given {}",
                in_features_, x->data.shape.to_string());
    tape.context().workspace().reserve(linear_workspace(tape.context(), shape, x->data.dtype));
    const auto& weight = store_->parameters()[static_cast<std::size_t>(weight_)];
    const auto& bias = store_->parameters()[static_cast<std::size_t>(bias_)];
    Value* w = tape.parameter(weight.operand, weight.operand_grad);
    Value* b = tape.parameter(bias.operand, bias.operand_grad);
    Value* y = tape.activation(x->data.dtype, {shape.batch, out_features_});
    tape.record(
        {.name = weight.name,
         .inputs = {x, w, b},
         .output = y,
         .forward =
             [=](Context& context) { linear_forward(context, shape, y->data, x->data, w->data, b->data); },
         .backward =
             [=](Context& context, std::span<const GradMode> modes) {
                 if (modes[0] != GradMode::skip)
                     linear_backward_data(context, shape, x->grad, modes[0], y->grad, w->data);
                 linear_backward_weights(context, shape, w->grad, b->grad, modes[1], y->grad, x->data);
             }});
    return y;
}

}  // namespace qstep

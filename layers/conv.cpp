#include "layers/conv.h"

#include "kernels/conv2d.h"

namespace qstep {

namespace {

Conv2dShape shape_for(const Conv2d::Geometry& g, const Shape& x) {
    QSTEP_CHECK(x.rank() == 4 && x[3] == g.in_channels, "a convolution of {} channels is given {}",
                g.in_channels, x.to_string());
    return {x[0], x[1], x[2], g.in_channels, g.out_channels, g.kernel, g.kernel, g.stride, g.pad};
}

}  // namespace

Conv2d::Conv2d(ParameterStore& store, const std::string& name, const Geometry& geometry, Init weight)
    : store_(&store),
      geometry_(geometry),
      weight_(store.add_parameter(
          name + ".weight", {geometry.out_channels, geometry.in_channels, geometry.kernel, geometry.kernel},
          weight, WeightUse::convolution)) {}

Conv2d::Conv2d(ParameterStore& store, const std::string& name, const Geometry& geometry, Init weight,
               Init bias)
    : Conv2d(store, name, geometry, weight) {
    bias_ = store.add_parameter(name + ".bias", {geometry.out_channels}, bias);
}

Value* Conv2d::build(Tape& tape, Value* x) const {
    const Conv2dShape shape = shape_for(geometry_, x->data.shape);
    tape.context().workspace().reserve(
        conv2d_workspace(tape.context(), shape, x->data.dtype, tape.training()));
    Value* w = tape.parameter(weight().operand, weight().operand_grad);
    Value* y = tape.activation(x->data.dtype, shape.y());
    std::vector<Value*> inputs{x, w};
    Value* b = nullptr;
    if (bias_ >= 0) {
        const auto& bias = store_->parameters()[static_cast<std::size_t>(bias_)];
        b = tape.parameter(bias.operand, bias.operand_grad);
        inputs.push_back(b);
    }
    tape.record({.name = weight().name,
                 .inputs = inputs,
                 .output = y,
                 .forward =
                     [=](Context& context) {
                         conv2d_forward(context, shape, y->data, x->data, w->data, b ? b->data : Tensor{});
                     },
                 .backward =
                     [=](Context& context, std::span<const GradMode> modes) {
                         if (modes[0] != GradMode::skip)
                             conv2d_backward_data(context, shape, x->grad, modes[0], y->grad, w->data);
                         conv2d_backward_weights(context, shape, w->grad, b ? b->grad : Tensor{}, modes[1],
                                                 y->grad, x->data);
                     }});
    return y;
}

}  // namespace qstep

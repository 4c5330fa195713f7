// The node that joins convolution, batch norm, residual addition and ReLU.
#include "kernels/conv_bn.h"

#include <algorithm>

#include "kernels/activation.h"
#include "layers/conv.h"

namespace qstep {

/// What the node's two functions share, and what the next one may take over.
struct ConvBnNode {
    Conv2dShape shape;
    BatchNormStats stats;
    BatchNormParameters bn;
    Tensor y;  // the convolution's output
    bool relu;
    Value *x, *w, *gamma, *beta, *residual, *out;
    // Whose `out`, this one's x, is normalised here and, since backward comes to its first reader last, has
    // its gradient's sums taken here.
    std::shared_ptr<const ConvBnNode> before = {};
    bool normalised_by_next = false;

    Tensor residual_data() const { return residual ? residual->data : Tensor{}; }

    void forward_training(Context& context) const {
        if (before)
            conv2d_forward_normalising(
                context, shape, y, x->data,
                {before->y, before->residual_data(), before->relu, before->stats, before->bn}, w->data, stats,
                bn);
        else
            conv2d_forward_statistics(context, shape, y, x->data, w->data, stats, bn);
        if (!normalised_by_next) batch_norm_apply(context, out->data, y, residual_data(), relu, stats, bn);
    }
    void forward_evaluation(Context& context) const {
        conv2d_forward(context, shape, out->data, x->data, w->data, {});
        batch_norm_running_statistics(context, stats, bn);
        batch_norm_apply(context, out->data, out->data, residual_data(), relu, stats, bn);
    }
    void backward(Context& context, std::span<const GradMode> modes) const {
        // dz overwrites dout. It is also the residual's gradient; where the tape passed the memory on, it is
        // there already.
        const Tensor dz = out->grad;
        if (!normalised_by_next)
            batch_norm_backward_reduce(context, dz, gamma->grad, beta->grad, dz, relu ? out->data : Tensor{},
                                       y, stats);
        if (residual && residual->grad.data != dz.data && modes[4] != GradMode::skip)
            add_backward(context, residual->grad, modes[4], dz);
        InputReduction input;
        if (before) input = {before->y, before->gamma->grad, before->beta->grad, before->relu, before->stats};
        conv2d_backward_through_batch_norm(context, shape, x->grad, modes[0], w->grad, dz, y, x->data,
                                           w->data, gamma->grad, beta->grad, stats, gamma->data,
                                           before ? &input : nullptr);
    }
};

namespace {

bool is_read(const Tape& tape, const Value* value) {
    return std::ranges::any_of(tape.nodes(), [&](const Node& node) {
        return std::ranges::find(node.inputs, value) != node.inputs.end();
    });
}

}  // namespace

ConvBnValue build_conv_bn(Tape& tape, const Conv2d& conv, const BatchNorm2d& bn, const ConvBnValue& input,
                          Value* residual, bool relu) {
    Value* x = input;
    QSTEP_CHECK(residual != x, "a convolution's input cannot be its own residual");
    const auto& g = conv.geometry();
    const Shape& in = x->data.shape;
    const DType dtype = x->data.dtype;
    const Conv2dShape shape{in[0],    in[1],    in[2],    g.in_channels, g.out_channels,
                            g.kernel, g.kernel, g.stride, g.pad};
    Workspace& workspace = tape.context().workspace();
    workspace.reserve(conv2d_workspace(tape.context(), shape, dtype, tape.training()));
    workspace.reserve(
        batch_norm_workspace(tape.context(), shape.y().count() / g.out_channels, g.out_channels));

    auto node = std::make_shared<ConvBnNode>(ConvBnNode{
        .shape = shape,
        .stats = {tape.keep(DType::f32, {g.out_channels}), tape.keep(DType::f32, {g.out_channels})},
        .bn = bn.tensors(),
        .y = tape.training() ? tape.keep(dtype, shape.y()) : Tensor{},
        .relu = relu,
        .x = x,
        .w = tape.parameter(conv.weight().operand, conv.weight().operand_grad),
        .gamma = tape.parameter(bn.gamma().value, bn.gamma().grad),
        .beta = tape.parameter(bn.beta().value, bn.beta().grad),
        .residual = residual,
        .out = tape.activation(dtype, shape.y())});
    if (tape.training() && input.node_ && !is_read(tape, x)) {
        node->before = input.node_;
        input.node_->normalised_by_next = true;
    }
    std::vector<Value*> inputs{node->x, node->w, node->gamma, node->beta};
    if (residual) inputs.push_back(residual);
    tape.record({.name = conv.weight().name,
                 .inputs = inputs,
                 .output = node->out,
                 .forward =
                     [node, training = tape.training()](Context& context) {
                         training ? node->forward_training(context) : node->forward_evaluation(context);
                     },
                 .backward = [node](Context& context,
                                    std::span<const GradMode> modes) { node->backward(context, modes); },
                 .gradient_passes_to = residual ? 4 : -1});
    ConvBnValue out(node->out);
    out.node_ = node;
    return out;
}

}  // namespace qstep

// Convolutions of ResNet-20's three stages, alone and with the batch normalisation behind them.
#include <fmt/format.h>

#include "apps/bench_kernels/work.h"
#include "kernels/conv_bn.h"

namespace qstep::bench {

namespace {

struct Tested {
    Tested(Context& context, Tensors& tensors, DType dtype, const Conv2dShape& conv)
        : shape(conv),
          x(tensors.random(dtype, conv.x())),
          y(tensors.random(dtype, conv.y())),
          dx(tensors.zeros(dtype, conv.x())),
          multiply_adds(conv.y().count() * conv.in_channels * conv.kernel_h * conv.kernel_w) {
        const WeightLayout layout = layout_of(context, WeightUse::convolution, conv.w(), dtype);
        w = tensors.random(layout.dtype, layout.shape);
        dw = tensors.zeros(layout.gradient->dtype, layout.gradient->shape);
        const Shape channels{conv.out_channels};
        stats = {tensors.filled(channels, 0.1f), tensors.filled(channels, 2.0f)};
        parameters = {tensors.filled(channels, 1.0f), tensors.filled(channels, 0.0f),
                      tensors.filled(channels, 0.0f), tensors.filled(channels, 1.0f)};
        dgamma = tensors.filled(channels, 0.1f);
        context.workspace().reserve(conv2d_workspace(context, conv, dtype));
        context.workspace().reserve(
            batch_norm_workspace(context, conv.y().count() / conv.out_channels, conv.out_channels));
    }
    Work work(std::initializer_list<Tensor> touched, std::int64_t products,
              std::function<void(Context&)> launch) const {
        return {y.count(), bytes_of(touched), products * multiply_adds, std::move(launch)};
    }

    Conv2dShape shape;
    Tensor x, y, dx, w, dw;
    std::int64_t multiply_adds;
    BatchNormStats stats;
    BatchNormParameters parameters;
    Tensor dgamma;
};

Work forward(const Tested& t) {
    return t.work({t.x, t.w, t.y}, 1,
                  [t](Context& context) { conv2d_forward(context, t.shape, t.y, t.x, t.w, {}); });
}

Work forward_statistics(const Tested& t) {
    return t.work({t.x, t.w, t.y}, 1, [t](Context& context) {
        conv2d_forward_statistics(context, t.shape, t.y, t.x, t.w, t.stats, t.parameters);
    });
}

Work backward_data(const Tested& t) {
    return t.work({t.y, t.w, t.dx}, 1, [t](Context& context) {
        conv2d_backward_data(context, t.shape, t.dx, GradMode::overwrite, t.y, t.w);
    });
}

Work backward_weights(const Tested& t) {
    return t.work({t.y, t.x, t.dw}, 1, [t](Context& context) {
        conv2d_backward_weights(context, t.shape, t.dw, {}, GradMode::overwrite, t.y, t.x);
    });
}

Work backward_through_batch_norm(Tensors& tensors, const Tested& t) {
    const Tensor dz = tensors.random(t.y.dtype, t.y.shape);
    return t.work({dz, t.y, t.x, t.w, t.dx, t.dw}, 2, [t, dz](Context& context) {
        conv2d_backward_through_batch_norm(context, t.shape, t.dx, GradMode::overwrite, t.dw, dz, t.y, t.x,
                                           t.w, t.dgamma, t.dgamma, t.stats, t.parameters.gamma, nullptr);
    });
}

/// What most layers of a ResNet run: x is normalised on the way there, and its gradient's sums taken on the
/// way back.
Work forward_normalising(Tensors& tensors, const Tested& t) {
    const Tensor before = tensors.random(t.x.dtype, t.x.shape);
    const Normalisation from{before, {}, true, t.stats, t.parameters};
    return t.work({before, t.x, t.w, t.y}, 1, [t, from](Context& context) {
        conv2d_forward_normalising(context, t.shape, t.y, t.x, from, t.w, t.stats, t.parameters);
    });
}

Work backward_for_two(Tensors& tensors, const Tested& t) {
    const Tensor dz = tensors.random(t.y.dtype, t.y.shape), before = tensors.random(t.x.dtype, t.x.shape);
    const Shape channels{t.shape.in_channels};
    const InputReduction input{before, tensors.filled(channels, 0.0f), tensors.filled(channels, 0.0f), true,
                               t.stats};
    return t.work({dz, t.y, t.x, before, t.w, t.dx, t.dw}, 2, [t, dz, input](Context& context) {
        conv2d_backward_through_batch_norm(context, t.shape, t.dx, GradMode::overwrite, t.dw, dz, t.y, t.x,
                                           t.w, t.dgamma, t.dgamma, t.stats, t.parameters.gamma, &input);
    });
}

/// Six 3x3 convolutions a stage: nearly ResNet-20.
Work all_copies(Context& context, Tensors& tensors, DType dtype, bool gradients) {
    std::vector<WeightCopy> copies;
    Work work;
    for (const std::int64_t channels : {16, 32, 64})
        for (int layer = 0; layer < 6; ++layer) {
            const Shape master{channels, channels, 3, 3};
            const WeightLayout layout = layout_of(context, WeightUse::convolution, master, dtype);
            const WeightCopy& copy = copies.emplace_back(
                WeightCopy{tensors.random(DType::f32, master), tensors.zeros(DType::f32, master),
                           tensors.zeros(layout.dtype, layout.shape),
                           tensors.random(layout.gradient->dtype, layout.gradient->shape)});
            work.elements += master.count();
            work.bytes += bytes_of({copy.weight, gradients ? copy.copy_gradient : copy.copy});
        }
    work.launch = [copies, gradients](Context& on) {
        gradients ? collect_weight_gradients(on, copies) : make_weight_copies(on, copies);
    };
    return work;
}

struct Pass {
    const char* name;
    Work (*make)(Tensors&, const Tested&);
};
constexpr Pass kPasses[] = {
    {"conv2d_forward", [](Tensors&, const Tested& t) { return forward(t); }},
    {"conv2d_forward_statistics", [](Tensors&, const Tested& t) { return forward_statistics(t); }},
    {"conv2d_backward_data", [](Tensors&, const Tested& t) { return backward_data(t); }},
    {"conv2d_backward_weights", [](Tensors&, const Tested& t) { return backward_weights(t); }},
    {"conv2d_backward_through_batch_norm", backward_through_batch_norm},
    {"conv2d_forward_normalising", forward_normalising},
    {"conv2d_backward_for_two_layers", backward_for_two}};

}  // namespace

void add_convolution(std::vector<Benchmark>& to) {
    for (const Pass& pass : kPasses)
        for (const DType dtype : kFloats)
            for (const std::int64_t side : {32, 16, 8}) {
                const Conv2dShape shape{kBatch, side, side, 512 / side, 512 / side, 3, 3, 1, 1};
                to.push_back({fmt::format("{}/{}/{}x{}x{}x{}", pass.name, name_of(dtype), kBatch, side, side,
                                          shape.in_channels),
                              [=](Context& context, Tensors& tensors) {
                                  return pass.make(tensors, Tested(context, tensors, dtype, shape));
                              }});
            }
}

void add_weight_copies(std::vector<Benchmark>& to) {
    for (const bool gradients : {false, true})
        for (const DType dtype : kFloats)
            to.push_back({fmt::format("{}/{}", gradients ? "collect_weight_gradients" : "make_weight_copies",
                                      name_of(dtype)),
                          [=](Context& context, Tensors& tensors) {
                              return all_copies(context, tensors, dtype, gradients);
                          }});
}

}  // namespace qstep::bench

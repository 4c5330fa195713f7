// Batch normalisation on ResNet-20's activations, with the residual and the ReLU of a block's end.
#include "kernels/batch_norm.h"

#include <fmt/format.h>

#include "apps/bench_kernels/work.h"

namespace qstep::bench {

namespace {

struct Tested {
    Tested(Context& context, Tensors& tensors, DType dtype, const Shape& shape)
        : y(tensors.random(dtype, shape)), out(tensors.random(dtype, shape)) {
        const std::int64_t channels = shape[3];
        stats = {tensors.filled({channels}, 0.1f), tensors.filled({channels}, 2.0f)};
        parameters = {tensors.filled({channels}, 1.0f), tensors.filled({channels}, 0.0f),
                      tensors.filled({channels}, 0.0f), tensors.filled({channels}, 1.0f)};
        dgamma = tensors.filled({channels}, 0.1f);
        dbeta = tensors.filled({channels}, 0.1f);
        context.workspace().reserve(batch_norm_workspace(context, shape.count() / channels, channels));
    }
    Tensor y, out;
    BatchNormStats stats;
    BatchNormParameters parameters;
    Tensor dgamma, dbeta;
};

// Bytes are those of the activations; a channel's few numbers do not count.

Work statistics(Tensors&, const Tested& t) {
    return {.elements = t.y.count(), .bytes = bytes_of({t.y}), .launch = [t](Context& context) {
                batch_norm_statistics(context, t.stats, t.parameters, t.y);
            }};
}

Work apply(Tensors&, const Tested& t) {
    return {.elements = t.y.count(), .bytes = bytes_of({t.y, t.out}), .launch = [t](Context& context) {
                batch_norm_apply(context, t.out, t.y, {}, true, t.stats, t.parameters);
            }};
}

Work apply_residual(Tensors& tensors, const Tested& t) {
    const Tensor residual = tensors.random(t.y.dtype, t.y.shape);
    return {.elements = t.y.count(),
            .bytes = bytes_of({t.y, residual, t.out}),
            .launch = [t, residual](Context& context) {
                batch_norm_apply(context, t.out, t.y, residual, true, t.stats, t.parameters);
            }};
}

Work backward_reduce(Tensors& tensors, const Tested& t) {
    const Tensor dout = tensors.random(t.y.dtype, t.y.shape), dz = tensors.zeros(t.y.dtype, t.y.shape);
    return {.elements = t.y.count(),
            .bytes = bytes_of({dout, t.out, t.y, dz}),
            .launch = [t, dout, dz](Context& context) {
                batch_norm_backward_reduce(context, dz, t.dgamma, t.dbeta, dout, t.out, t.y, t.stats);
            }};
}

Work backward_apply(Tensors& tensors, const Tested& t) {
    const Tensor dz = tensors.random(t.y.dtype, t.y.shape), dy = tensors.zeros(t.y.dtype, t.y.shape);
    return {
        .elements = t.y.count(), .bytes = bytes_of({dz, t.y, dy}), .launch = [t, dz, dy](Context& context) {
            batch_norm_backward_apply(context, dy, GradMode::overwrite, dz, t.y, t.dgamma, t.dbeta, t.stats,
                                      t.parameters.gamma);
        }};
}

struct Pass {
    const char* name;
    Work (*make)(Tensors&, const Tested&);
};
constexpr Pass kPasses[] = {{"batch_norm_statistics", statistics},
                            {"batch_norm_apply", apply},
                            {"batch_norm_apply_residual", apply_residual},
                            {"batch_norm_backward_reduce", backward_reduce},
                            {"batch_norm_backward_apply", backward_apply}};

}  // namespace

void add_batch_norm(std::vector<Benchmark>& to) {
    for (const Pass& pass : kPasses)
        for (const DType dtype : kFloats)
            for (const std::int64_t side : {32, 16, 8}) {
                const Shape shape{kBatch, side, side, 512 / side};
                to.push_back({fmt::format("{}/{}/{}x{}x{}x{}", pass.name, name_of(dtype), kBatch, side, side,
                                          shape[3]),
                              [=](Context& context, Tensors& tensors) {
                                  return pass.make(tensors, Tested(context, tensors, dtype, shape));
                              }});
            }
}

}  // namespace qstep::bench

// Kernels that take any number of elements one by one.
#include <fmt/format.h>

#include "apps/bench_kernels/work.h"
#include "kernels/activation.h"
#include "kernels/convert.h"
#include "kernels/sgd.h"

namespace qstep::bench {

namespace {

constexpr float kDropped = 0.5f;

using Make = Work (*)(Tensors&, DType, std::int64_t);

Work relu_forward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor x = tensors.random(dtype, {n}), out = tensors.zeros(dtype, {n});
    return {.elements = n, .bytes = bytes_of({x, out}), .launch = [=](Context& context) {
                qstep::relu_forward(context, out, x);
            }};
}

Work relu_backward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor dout = tensors.random(dtype, {n}), out = tensors.random(dtype, {n});
    const Tensor dx = tensors.zeros(dtype, {n});
    return {.elements = n, .bytes = bytes_of({dout, out, dx}), .launch = [=](Context& context) {
                qstep::relu_backward(context, dx, GradMode::overwrite, dout, out);
            }};
}

Work add_forward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor a = tensors.random(dtype, {n}), b = tensors.random(dtype, {n});
    const Tensor out = tensors.zeros(dtype, {n});
    return {.elements = n, .bytes = bytes_of({a, b, out}), .launch = [=](Context& context) {
                qstep::add_forward(context, out, a, b);
            }};
}

Work add_backward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor from = tensors.random(dtype, {n}), to = tensors.random(dtype, {n});
    return {.elements = n, .bytes = bytes_of({from, to, to}), .launch = [=](Context& context) {
                qstep::add_backward(context, to, GradMode::accumulate, from);
            }};
}

Work dropout_forward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor x = tensors.random(dtype, {n}), out = tensors.zeros(dtype, {n});
    const DropoutKey key{tensors.zeros(DType::i64, {1}), 1, tensors.zeros(DType::i64, {1})};
    return {.elements = n, .bytes = bytes_of({x, out}), .launch = [=](Context& context) {
                qstep::dropout_forward(context, out, x, kDropped, key);
            }};
}

Work dropout_backward(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor dout = tensors.random(dtype, {n}), dx = tensors.zeros(dtype, {n});
    const DropoutKey key{tensors.zeros(DType::i64, {1}), 1, tensors.zeros(DType::i64, {1})};
    return {.elements = n, .bytes = bytes_of({dout, dx}), .launch = [=](Context& context) {
                qstep::dropout_backward(context, dx, GradMode::overwrite, dout, kDropped, key);
            }};
}

/// From the type to the other one.
Work convert(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor from = tensors.random(dtype, {n});
    const Tensor to = tensors.zeros(dtype == DType::f32 ? DType::bf16 : DType::f32, {n});
    return {.elements = n, .bytes = bytes_of({from, to}), .launch = [=](Context& context) {
                qstep::convert(context, to, from);
            }};
}

Work sgd_update(Tensors& tensors, DType dtype, std::int64_t n) {
    const Tensor parameters = tensors.random(dtype, {n}), momentum = tensors.zeros(dtype, {n});
    const Tensor gradient = tensors.random(dtype, {n}), lr = tensors.filled({1}, 1e-6f);
    return {.elements = n,
            .bytes = bytes_of({gradient, parameters, momentum, parameters, momentum}),
            .launch = [=](Context& context) {
                qstep::sgd_update(context, parameters, momentum, gradient, lr, {});
            }};
}

void add(std::vector<Benchmark>& to, const char* name, Make make, DType dtype) {
    for (const std::int64_t n : kSizes)
        to.push_back({fmt::format("{}/{}/{}", name, name_of(dtype), n),
                      [=](Context&, Tensors& tensors) { return make(tensors, dtype, n); }});
}

}  // namespace

void add_elementwise(std::vector<Benchmark>& to) {
    for (const DType dtype : kFloats) {
        add(to, "relu_forward", relu_forward, dtype);
        add(to, "relu_backward", relu_backward, dtype);
        add(to, "add_forward", add_forward, dtype);
        add(to, "add_backward", add_backward, dtype);
        add(to, "dropout_forward", dropout_forward, dtype);
        add(to, "dropout_backward", dropout_backward, dtype);
        add(to, "convert", convert, dtype);
    }
    add(to, "sgd_update", sgd_update, DType::f32);
}

}  // namespace qstep::bench

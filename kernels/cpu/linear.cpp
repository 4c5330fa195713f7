// The three products of a fully connected layer, by oneDNN's matmul on our own row-major matrices. For bf16
// the weights (f32 masters) are rounded into scratch memory; where oneDNN has no bf16, activations take f32
// copies.
#include "kernels/linear.h"

#include <memory>

#include "kernels/convert.h"
#include "kernels/cpu/onednn_operation.h"
#include "kernels/cpu/onednn_version.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

using onednn::Desc;
using onednn::Operation;
using onednn::Runtime;
using onednn::Tag;
using onednn::Type;

enum class Product : std::int64_t { forward, backward_data, backward_weights };

struct LinearKey {
    LinearShape shape;
    Product product;
    std::int64_t dtype, has_bias, accumulate;
};

// c (+)= a * b + bias. b is the weights but in their own gradient, where it is x.
struct LinearPlan {
    DType dtype = DType::f32;  // that activations have when they reach the product
    Operation product;
    std::size_t scratchpad_bytes = 0;
};

struct Matrices {
    Desc a, b, bias, c;
};

Matrices matrices_of(const LinearKey& key, Type type) {
    const auto [n, i, o] = key.shape;
    switch (key.product) {
        case Product::forward:
            return {Desc({n, i}, type, Tag::ab), Desc({i, o}, type, Tag::ba),
                    key.has_bias ? Desc({1, o}, Type::f32, Tag::ab) : Desc(), Desc({n, o}, type, Tag::ab)};
        case Product::backward_data:
            return {Desc({n, o}, type, Tag::ab), Desc({o, i}, type, Tag::ab), Desc(),
                    Desc({n, i}, type, Tag::ab)};
        default:
            return {Desc({o, n}, type, Tag::ba), Desc({n, i}, type, Tag::ab), Desc(),
                    Desc({o, i}, Type::f32, Tag::ab)};
    }
}

// Null where the library has no implementation for the type on this processor.
std::shared_ptr<LinearPlan> try_plan(const dnnl::engine& engine, const LinearKey& key, DType dtype) {
    const Matrices m = matrices_of(key, onednn::type_of(dtype));
    const auto description =
        onednn::describe_matmul(engine, m.a, m.b, m.bias, m.c, onednn::attributes(key.accumulate != 0));
    if (!description) return nullptr;
    auto plan = std::make_shared<LinearPlan>();
    plan->dtype = dtype;
    plan->scratchpad_bytes = description.scratchpad_desc().get_size();
    plan->product = Operation(engine, dnnl::matmul(description),
                              {{DNNL_ARG_SRC, m.a},
                               {DNNL_ARG_WEIGHTS, m.b},
                               {DNNL_ARG_BIAS, m.bias},
                               {DNNL_ARG_DST, m.c},
                               {DNNL_ARG_SCRATCHPAD, description.scratchpad_desc()}});
    return plan;
}

std::shared_ptr<LinearPlan> make_plan(const dnnl::engine& engine, const LinearKey& key) {
    const std::string what = fmt::format("a linear layer of {} rows, {} inputs and {} outputs",
                                         key.shape.batch, key.shape.in_features, key.shape.out_features);
    return onednn::made(what, [&] {
        auto plan = try_plan(engine, key, static_cast<DType>(key.dtype));
        if (!plan) plan = try_plan(engine, key, DType::f32);
        QSTEP_CHECK(plan != nullptr, "oneDNN has no implementation of {}", what);
        return plan;
    });
}

LinearPlan& plan_of(const Context& context, const LinearKey& key) {
    const Runtime& runtime = cpu::onednn::runtime_of(context);
    return context.plans().get<LinearPlan>(key, [&] { return make_plan(runtime.engine, key); });
}

std::size_t matrix_bytes(std::int64_t rows, std::int64_t columns, DType dtype) {
    return scratch_bytes(static_cast<std::size_t>(rows * columns) * size_of(dtype));
}

std::size_t bytes_of(const LinearPlan& plan, const LinearKey& key) {
    const auto [n, i, o] = key.shape;
    std::size_t bytes = scratch_bytes(plan.scratchpad_bytes);
    if (key.product != Product::backward_weights && plan.dtype != DType::f32)
        bytes += matrix_bytes(o, i, plan.dtype);
    if (plan.dtype != static_cast<DType>(key.dtype))
        bytes += matrix_bytes(n, i, DType::f32) + matrix_bytes(n, o, DType::f32);
    return bytes;
}

void check_arguments(const LinearShape& shape, const Tensor& x, const Tensor& y, const Tensor& w,
                     const Tensor& bias) {
    QSTEP_CHECK(x.count() == shape.batch * shape.in_features, "x {} is not {} rows of {}",
                x.shape.to_string(), shape.batch, shape.in_features);
    QSTEP_CHECK(y.count() == shape.batch * shape.out_features && y.dtype == x.dtype,
                "y {} is not {} rows of {}, in the type of x", y.shape.to_string(), shape.batch,
                shape.out_features);
    check_tensor(w, "w", DType::f32, {shape.out_features, shape.in_features});
    if (bias) check_tensor(bias, "bias", DType::f32, {shape.out_features});
}

// A plan at work: its scratch memory, and stand-ins for tensors that have another type than it computes on.
class Run {
  public:
    Run(Context& context, const LinearShape& shape, Product product, DType dtype, bool has_bias,
        GradMode mode)
        : context_(context),
          runtime_(onednn::runtime_of(context)),
          key_{shape, product, static_cast<std::int64_t>(dtype), has_bias, mode == GradMode::accumulate},
          plan_(plan_of(context, key_)),
          scratch_(context.workspace().lend(bytes_of(plan_, key_))),
          scratchpad_(scratch_.take_bytes(plan_.scratchpad_bytes)) {}

    Tensor input(const Tensor& tensor) {
        const Tensor copy = stand_in(tensor);
        if (copy.data != tensor.data) convert(context_, copy, tensor);
        return copy;
    }
    void multiply(void* c, void* a, void* b, void* bias) {
        plan_.product.run(runtime_, {{DNNL_ARG_SRC, a},
                                     {DNNL_ARG_WEIGHTS, b},
                                     {DNNL_ARG_BIAS, bias},
                                     {DNNL_ARG_DST, c},
                                     {DNNL_ARG_SCRATCHPAD, scratchpad_}});
    }
    // The activation c (+)= a * b + bias.
    void multiply_into(const Tensor& c, void* a, void* b, void* bias) {
        const Tensor copy = key_.accumulate ? input(c) : stand_in(c);
        multiply(copy.data, a, b, bias);
        if (copy.data != c.data) convert(context_, c, copy);
    }

  private:
    Tensor stand_in(const Tensor& tensor) {
        if (plan_.dtype == tensor.dtype) return tensor;
        Tensor copy{nullptr, plan_.dtype, tensor.shape};
        copy.data = scratch_.take_bytes(copy.bytes());
        return copy;
    }

    Context& context_;
    Runtime& runtime_;
    LinearKey key_;
    LinearPlan& plan_;
    Scratch scratch_;
    void* scratchpad_;
};

constexpr std::int64_t kBiasColumns = 64;

template <typename T>
QSTEP_CLONES void bias_gradient(float* dbias, const T* dy, LinearShape shape, bool accumulate,
                                std::int64_t begin, std::int64_t end) {
    double sum[kBiasColumns];
    for (std::int64_t o = begin; o < end; o += kBiasColumns) {
        const std::int64_t lanes = std::min(kBiasColumns, end - o);
        std::fill_n(sum, kBiasColumns, 0.0);
        for (std::int64_t n = 0; n < shape.batch; ++n) {
            const T* row = dy + n * shape.out_features + o;
#pragma omp simd
            for (std::int64_t k = 0; k < lanes; ++k) sum[k] += static_cast<double>(to_float(row[k]));
        }
        for (std::int64_t k = 0; k < lanes; ++k)
            dbias[o + k] = (accumulate ? dbias[o + k] : 0.0f) + static_cast<float>(sum[k]);
    }
}

}  // namespace

std::size_t linear_workspace(const Context& context, const LinearShape& shape, DType dtype) {
    std::size_t bytes = 0;
    for (const Product product : {Product::forward, Product::backward_data, Product::backward_weights})
        for (const std::int64_t bias : {0, 1})
            for (const std::int64_t accumulate : {0, 1}) {
                if (bias == 1 && product != Product::forward) continue;
                if (accumulate == 1 && product == Product::forward) continue;
                const LinearKey key{shape, product, static_cast<std::int64_t>(dtype), bias, accumulate};
                bytes = std::max(bytes, bytes_of(plan_of(context, key), key));
            }
    return bytes;
}

void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    check_arguments(shape, x, y, w, bias);
    Run run(context, shape, Product::forward, x.dtype, static_cast<bool>(bias), GradMode::overwrite);
    void* from = run.input(x).data;
    run.multiply_into(y, from, run.input(w).data, bias.data);
}

void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dx, dy, w, {});
    Run run(context, shape, Product::backward_data, dx.dtype, false, mode);
    void* from = run.input(dy).data;
    run.multiply_into(dx, from, run.input(w).data, nullptr);
}

void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, x, dy, dw, dbias);
    Run run(context, shape, Product::backward_weights, x.dtype, false, mode);
    void* gradient = run.input(dy).data;
    run.multiply(dw.data, gradient, run.input(x).data, nullptr);
    if (!dbias) return;
    with_float_type(dy.dtype, "dy", [&]<typename T>(T) {
        auto* to = dbias.as<float>();
        const auto* from = dy.as<T>();
        parallel_ranges(context, shape.out_features, kBiasColumns, shape.batch,
                        [=](std::int64_t begin, std::int64_t end) {
                            bias_gradient(to, from, shape, mode == GradMode::accumulate, begin, end);
                        });
    });
}

}  // namespace qstep::cpu

// Fully connected layers by cuBLASLt. Row-major matrices of ours are the transposed ones of a column-major
// library: y^T = w x^T, dx^T = w^T dy^T, dw^T = x^T dy. w and bias are the copies of weight_copies.h in the
// type of the activations, dw and dbias the f32 masters.
#include "kernels/linear.h"

#include <algorithm>

#include "kernels/cuda/channel_bias.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

/// `weights`: the type of w and bias.
void check_arguments(const LinearShape& shape, const Tensor& x, const Tensor& y, DType weights,
                     const Tensor& w, const Tensor& bias) {
    QSTEP_CHECK(x.dtype == DType::f32 || x.dtype == DType::bf16, "a linear layer takes f32 or bf16, not {}",
                name_of(x.dtype));
    QSTEP_CHECK(y.dtype == x.dtype, "a linear layer from {} to {}", name_of(x.dtype), name_of(y.dtype));
    QSTEP_CHECK(x.count() == shape.batch * shape.in_features, "x is {}, not {} rows of {}",
                x.shape.to_string(), shape.batch, shape.in_features);
    QSTEP_CHECK(y.count() == shape.batch * shape.out_features, "y is {}, not {} rows of {}",
                y.shape.to_string(), shape.batch, shape.out_features);
    check_tensor(w, "w", weights, {shape.out_features, shape.in_features});
    if (bias) check_tensor(bias, "bias", weights, {shape.out_features});
}

MatmulProblem problem_of(std::int64_t rows, std::int64_t columns, std::int64_t inner, const Tensor& a,
                         const Tensor& b, const Tensor& d) {
    return {.rows = rows,
            .columns = columns,
            .inner = inner,
            .transpose_a = 0,
            .transpose_b = 0,
            .factors = static_cast<std::int64_t>(a.dtype),
            .result = static_cast<std::int64_t>(d.dtype),
            .bias = 0,
            .aligned_a = alignment_of(a.data),
            .aligned_b = alignment_of(b.data),
            .aligned_d = alignment_of(d.data),
            .aligned_bias = 0};
}

MatmulPlan& required_plan(const Context& context, const MatmulProblem& problem) {
    MatmulPlan* plan = matmul_plan(context, problem);
    if (plan == nullptr) fail_run("the matrix library has no algorithm for {}", problem.to_string());
    return *plan;
}

}  // namespace

std::size_t linear_workspace(const Context&, const LinearShape& shape, DType) {
    return std::max(kMatmulWorkspace, channel_sums_bytes(shape.batch, shape.out_features));
}

void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    check_arguments(shape, x, y, x.dtype, w, bias);
    void* workspace = context.workspace().lend(kMatmulWorkspace);
    MatmulProblem problem = problem_of(shape.out_features, shape.batch, shape.in_features, w, x, y);
    problem.transpose_a = 1;
    MatmulProblem with_bias = problem;
    if (bias) {
        with_bias.bias = 1;
        with_bias.aligned_bias = alignment_of(bias.data);
    }
    if (MatmulPlan* fused = matmul_plan(context, with_bias); fused != nullptr)
        return fused->run(context, {w.data, x.data, y.data, bias.data}, false, workspace);
    required_plan(context, problem).run(context, {w.data, x.data, y.data, nullptr}, false, workspace);
    if (bias) add_channel_bias(context, y, bias);
}

void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dx, dy, dx.dtype, w, {});
    required_plan(context, problem_of(shape.in_features, shape.batch, shape.out_features, w, dy, dx))
        .run(context, {w.data, dy.data, dx.data, nullptr}, mode == GradMode::accumulate,
             context.workspace().lend(kMatmulWorkspace));
}

void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, x, dy, DType::f32, dw, dbias);
    void* workspace = context.workspace().lend(cuda::linear_workspace(context, shape, x.dtype));
    if (dbias) channel_sums(context, dbias, mode, dy, workspace);
    MatmulProblem problem = problem_of(shape.in_features, shape.out_features, shape.batch, x, dy, dw);
    problem.transpose_b = 1;
    required_plan(context, problem)
        .run(context, {x.data, dy.data, dw.data, nullptr}, mode == GradMode::accumulate, workspace);
}

}  // namespace qstep::cuda

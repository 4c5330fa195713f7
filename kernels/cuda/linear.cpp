// Fully connected layers by cuBLASLt. Row-major matrices of ours are the transposed ones of a column-major
// library: y^T = w x^T, dx^T = w^T dy^T, dw^T = x^T dy.
#include "kernels/linear.h"

#include <algorithm>

#include "kernels/cuda/channel_bias.h"
#include "kernels/cuda/library_plans.h"
#include "kernels/cuda/library_scratch.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

void check_arguments(const LinearShape& shape, const Tensor& x, const Tensor& y, const Tensor& w,
                     const Tensor& bias) {
    QSTEP_CHECK(x.dtype == DType::f32 || x.dtype == DType::bf16, "a linear layer takes f32 or bf16, not {}",
                name_of(x.dtype));
    QSTEP_CHECK(y.dtype == x.dtype, "a linear layer from {} to {}", name_of(x.dtype), name_of(y.dtype));
    QSTEP_CHECK(x.count() == shape.batch * shape.in_features, "x is {}, not {} rows of {}",
                x.shape.to_string(), shape.batch, shape.in_features);
    QSTEP_CHECK(y.count() == shape.batch * shape.out_features, "y is {}, not {} rows of {}",
                y.shape.to_string(), shape.batch, shape.out_features);
    check_tensor(w, "w", DType::f32, {shape.out_features, shape.in_features});
    if (bias) check_tensor(bias, "bias", DType::f32, {shape.out_features});
}

/// The master copy itself, or one rounded to bf16.
Tensor in_type(Context& context, DType dtype, const Tensor& master, LibraryScratch& scratch) {
    if (!master || dtype == master.dtype) return master;
    Tensor copy{nullptr, dtype, master.shape};
    copy.data = scratch.take(copy.bytes());
    cuda::convert(context, copy, master);
    return copy;
}

std::size_t copies_bytes(const LinearShape& shape, DType dtype) {
    if (dtype == DType::f32) return 0;
    const auto outputs = static_cast<std::size_t>(shape.out_features);
    return scratch_bytes(outputs * static_cast<std::size_t>(shape.in_features) * size_of(dtype)) +
           scratch_bytes(outputs * size_of(dtype));
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

std::size_t linear_workspace(const Context&, const LinearShape& shape, DType dtype) {
    return std::max(copies_bytes(shape, dtype) + kMatmulWorkspace,
                    channel_sums_bytes(shape.batch, shape.out_features));
}

void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    check_arguments(shape, x, y, w, bias);
    LibraryScratch scratch(context, copies_bytes(shape, x.dtype) + kMatmulWorkspace);
    const Tensor weights = in_type(context, x.dtype, w, scratch);
    MatmulProblem problem = problem_of(shape.out_features, shape.batch, shape.in_features, weights, x, y);
    problem.transpose_a = 1;
    MatmulProblem with_bias = problem;
    if (bias) {
        with_bias.bias = 1;
        with_bias.aligned_bias = x.dtype == DType::f32 ? alignment_of(bias.data) : kWidestAlignment;
    }
    if (MatmulPlan* fused = matmul_plan(context, with_bias); fused != nullptr) {
        const Tensor vector = in_type(context, x.dtype, bias, scratch);
        return fused->run(context, {weights.data, x.data, y.data, vector.data}, false,
                          scratch.take(kMatmulWorkspace));
    }
    required_plan(context, problem)
        .run(context, {weights.data, x.data, y.data, nullptr}, false, scratch.take(kMatmulWorkspace));
    if (bias) add_channel_bias(context, y, bias);
}

void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dx, dy, w, {});
    LibraryScratch scratch(context, copies_bytes(shape, dx.dtype) + kMatmulWorkspace);
    const Tensor weights = in_type(context, dx.dtype, w, scratch);
    required_plan(context, problem_of(shape.in_features, shape.batch, shape.out_features, weights, dy, dx))
        .run(context, {weights.data, dy.data, dx.data, nullptr}, mode == GradMode::accumulate,
             scratch.take(kMatmulWorkspace));
}

void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, x, dy, dw, dbias);
    void* workspace = context.workspace().lend(cuda::linear_workspace(context, shape, x.dtype));
    if (dbias) channel_sums(context, dbias, mode, dy, workspace);
    MatmulProblem problem = problem_of(shape.in_features, shape.out_features, shape.batch, x, dy, dw);
    problem.transpose_b = 1;
    required_plan(context, problem)
        .run(context, {x.data, dy.data, dw.data, nullptr}, mode == GradMode::accumulate, workspace);
}

}  // namespace qstep::cuda

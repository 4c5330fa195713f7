#include "kernels/cuda/cublas_matmul.h"

#include "engine/cuda/runtime.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

cudaDataType_t library_type(std::int64_t dtype) {
    return dtype == static_cast<std::int64_t>(DType::bf16) ? CUDA_R_16BF : CUDA_R_32F;
}

MatrixLayout layout(std::int64_t dtype, std::int64_t rows, std::int64_t columns,
                    const MatmulProblem& problem) {
    cublasLtMatrixLayout_t raw = nullptr;
    QSTEP_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&raw, library_type(dtype), static_cast<std::uint64_t>(rows),
                                                  static_cast<std::uint64_t>(columns), rows),
                       problem.to_string());
    return MatrixLayout(raw);
}

template <typename T>
void set(const MatmulDescriptor& matmul, cublasLtMatmulDescAttributes_t name, const T& value,
         const MatmulProblem& problem) {
    QSTEP_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(matmul.get(), name, &value, sizeof(value)),
                       problem.to_string());
}

MatmulDescriptor describe(const Context& context, const MatmulProblem& problem) {
    const bool f32 = problem.factors == static_cast<std::int64_t>(DType::f32);
    const cublasComputeType_t compute =
        f32 && context.numerics().tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasLtMatmulDesc_t raw = nullptr;
    QSTEP_CUBLAS_CHECK(cublasLtMatmulDescCreate(&raw, compute, CUDA_R_32F), problem.to_string());
    MatmulDescriptor matmul(raw);
    const auto operation = [](std::int64_t transpose) { return transpose != 0 ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(matmul, CUBLASLT_MATMUL_DESC_TRANSA, operation(problem.transpose_a), problem);
    set(matmul, CUBLASLT_MATMUL_DESC_TRANSB, operation(problem.transpose_b), problem);
    if (problem.bias == 0) return matmul;
    set(matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS, problem);
    set(matmul, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, library_type(problem.result), problem);
    // The heuristic reads no more of this address than how far it is aligned.
    set(matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(problem.aligned_bias),
        problem);
    return matmul;
}

MatmulPreference describe_preference(const MatmulProblem& problem) {
    cublasLtMatmulPreference_t raw = nullptr;
    QSTEP_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&raw), problem.to_string());
    MatmulPreference preference(raw);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, auto value) {
        QSTEP_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(raw, name, &value, sizeof(value)),
                           problem.to_string());
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kMatmulWorkspace));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(problem.aligned_a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(problem.aligned_b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(problem.aligned_d));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(problem.aligned_d));
    return preference;
}

}  // namespace

std::string MatmulProblem::to_string() const {
    return fmt::format("a matrix product {} [{},{}] * [{},{}] into {}{}",
                       name_of(static_cast<DType>(factors)), columns, inner, inner, rows,
                       name_of(static_cast<DType>(result)), bias != 0 ? " with bias" : "");
}

std::int64_t alignment_of(const void* address) {
    const auto bits =
        reinterpret_cast<std::uintptr_t>(address) | static_cast<std::uintptr_t>(kWidestAlignment);
    return static_cast<std::int64_t>(bits & (~bits + 1));
}

MatmulPlan::MatmulPlan(const Context& context, const MatmulProblem& problem)
    : problem_(problem),
      matmul_(describe(context, problem)),
      a_(problem.transpose_a != 0 ? layout(problem.factors, problem.inner, problem.rows, problem)
                                  : layout(problem.factors, problem.rows, problem.inner, problem)),
      b_(problem.transpose_b != 0 ? layout(problem.factors, problem.columns, problem.inner, problem)
                                  : layout(problem.factors, problem.inner, problem.columns, problem)),
      d_(layout(problem.result, problem.rows, problem.columns, problem)) {
    const MatmulPreference preference = describe_preference(problem);
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(cublas_handle(context).get(), matmul_.get(), a_.get(), b_.get(),
                                       d_.get(), d_.get(), preference.get(), 1, &best, &found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED)
        QSTEP_CUBLAS_CHECK(status, "the choice of an algorithm for " + problem.to_string());
    works_ = status == CUBLAS_STATUS_SUCCESS && found > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    algorithm_ = best.algo;
}

void MatmulPlan::run(const Context& context, const void* a, const void* b, void* d, const void* bias,
                     bool add, void* workspace) {
    if (!works_) fail_run("cuBLASLt {} has no algorithm for {}", cublasLtGetVersion(), problem_.to_string());
    if (problem_.bias != 0) set(matmul_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias, problem_);
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    QSTEP_CUBLAS_CHECK(cublasLtMatmul(cublas_handle(context).get(), matmul_.get(), &alpha, a, a_.get(), b,
                                      b_.get(), &beta, d, d_.get(), d, d_.get(), &algorithm_, workspace,
                                      kMatmulWorkspace, stream_of(context)),
                       problem_.to_string());
}

MatmulPlan& matmul_plan(const Context& context, const MatmulProblem& problem) {
    return context.plans().get<MatmulPlan>(problem,
                                           [&] { return std::make_shared<MatmulPlan>(context, problem); });
}

}  // namespace qstep::cuda

#include "kernels/cuda/cublas_handle.h"

#include "engine/cuda/capture.h"
#include "engine/cuda/runtime.h"
#include "engine/dtype.h"
#include "engine/error.h"
#include "kernels/cuda/library_plans.h"

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
    // Parts of a split sum are added up as f32, also where the result is bf16.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(problem.aligned_a));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(problem.aligned_b));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(problem.aligned_d));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(problem.aligned_d));
    return preference;
}

class CublasPlan : public MatmulPlan {
  public:
    CublasPlan(const Context& context, const MatmulProblem& problem)
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

    bool works() const { return works_; }

    void run(const Context& context, const MatmulOperands& operands, bool add, void* workspace) override {
        if (problem_.bias != 0) set(matmul_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias, problem_);
        const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
        QSTEP_CUBLAS_CHECK(
            cublasLtMatmul(cublas_handle(context).get(), matmul_.get(), &alpha, operands.a, a_.get(),
                           operands.b, b_.get(), &beta, operands.d, d_.get(), operands.d, d_.get(),
                           &algorithm_, workspace, kMatmulWorkspace, stream_of(context)),
            problem_.to_string());
    }

  private:
    MatmulProblem problem_;
    MatmulDescriptor matmul_;
    MatrixLayout a_, b_, d_;
    cublasLtMatmulAlgo_t algorithm_{};
    bool works_ = false;
};

}  // namespace

// cuBLASLt gives the same bits for the same algorithm, and its heuristic the same algorithm for the same
// problem: deterministic without further asking.
MatmulPlan* matmul_plan(const Context& context, const MatmulProblem& problem) {
    auto& plan = context.plans().get<CublasPlan>(problem, [&] {
        refuse_inside_capture(context, "chooses an algorithm for a matrix product");
        return std::make_shared<CublasPlan>(context, problem);
    });
    return plan.works() ? &plan : nullptr;
}

}  // namespace qstep::cuda

// Matrix products by cuBLASLt, with algorithms chosen by its heuristic and kept.
#pragma once

#include <cstdint>
#include <string>

#include "engine/context.h"
#include "engine/dtype.h"
#include "kernels/cuda/cublas_handle.h"

namespace qstep::cuda {

/// Scratch for any product: what NVIDIA recommends for Hopper.
constexpr std::size_t kMatmulWorkspace = std::size_t{32} << 20;

/// d = op(a) * op(b), column-major as everywhere in cuBLAS: d is [rows, columns], `inner` are summed over, a
/// and b are stored without gaps, op transposes where told. A key of the plan cache.
struct MatmulProblem {
    std::int64_t rows, columns, inner;
    std::int64_t transpose_a, transpose_b;
    std::int64_t factors, result;  // DTypes, f32 or bf16
    std::int64_t bias;             // 1: adds a vector [rows] of the result's type to every column
    std::int64_t aligned_a, aligned_b, aligned_d, aligned_bias;  // bytes, see alignment_of()

    /// "matrix product bf16 [128,64] * [64,10] into f32".
    std::string to_string() const;
};

/// What the widest loads of a kernel ask for.
constexpr std::int64_t kWidestAlignment = 16;
/// The largest power of two up to that which divides the address: parameters lie in flat buffers wherever the
/// ones before them end.
std::int64_t alignment_of(const void* address);

/// One product, ready to run. cuBLASLt gives the same bits for the same algorithm, so these are
/// deterministic.
class MatmulPlan {
  public:
    /// f32 factors are rounded to tf32 where context.numerics() says so. No launches, so it may be made at
    /// any time; without an algorithm for the problem, works() is false.
    MatmulPlan(const Context& context, const MatmulProblem& problem);

    bool works() const { return works_; }
    /// d = product [+ bias] or, with `add`, d += product. `workspace`: kMatmulWorkspace bytes.
    void run(const Context& context, const void* a, const void* b, void* d, const void* bias, bool add,
             void* workspace);

  private:
    MatmulProblem problem_;
    MatmulDescriptor matmul_;
    MatrixLayout a_, b_, d_;
    cublasLtMatmulAlgo_t algorithm_{};
    bool works_ = false;
};

/// From the context's plan cache.
MatmulPlan& matmul_plan(const Context& context, const MatmulProblem& problem);

}  // namespace qstep::cuda

// What the CUDA backend leaves to libraries: single convolutions (cuDNN) and matrix products (cuBLASLt), each
// as a plan that is made once per problem and kept in the context's plan cache. Layouts, roundings, biases
// and gradient modes around them are the business of conv2d.cpp and linear.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/conv2d.h"

namespace qstep::cuda {

/// What the widest loads of a kernel ask for, in bytes.
constexpr std::int64_t kWidestAlignment = 16;
/// The largest power of two up to that which divides the address.
std::int64_t alignment_of(const void* address);

enum class ConvPass : std::int64_t { forward, backward_data, backward_weights };

/// One convolution or one of its gradients. Activations are NHWC, weights [O,KH,KW,I], all on multiples of
/// kWidestAlignment. A key of the plan cache.
struct ConvProblem {
    Conv2dShape shape;
    ConvPass pass;
    std::int64_t dtype;       // DType of all three tensors; sums are f32 and rounded once
    std::int64_t accumulate;  // 1: result = convolution + result

    bool in_bf16() const;
    /// "bf16 data gradient of a convolution, x [128,32,32,16], w [16,16,3,3], stride 1, pad 1".
    std::string to_string() const;
};

/// Addresses of a problem's three tensors: x or dx, w or dw, y or dy.
struct ConvOperands {
    void *x, *w, *y;
};

/// One algorithm for one problem, ready to run.
class ConvPlan {
  public:
    virtual ~ConvPlan() = default;
    virtual std::size_t workspace_bytes() const = 0;
    /// Queues it on the context's stream. `workspace` lies on a multiple of 256 bytes.
    virtual void run(const Context& context, const ConvOperands& operands, void* workspace) = 0;
};

/// The plan for `problem` under context.numerics(); null where the library has none. The first call for a
/// problem may launch, allocate and wait, so it belongs to laying out: inside a stream capture it throws.
ConvPlan* conv_plan(const Context& context, const ConvProblem& problem);

/// d = op(a) * op(b), column-major: d is [rows, columns], `inner` are summed over, a and b are stored without
/// gaps, op transposes where told. A key of the plan cache.
struct MatmulProblem {
    std::int64_t rows, columns, inner;
    std::int64_t transpose_a, transpose_b;
    std::int64_t factors, result;  // DTypes, f32 or bf16
    std::int64_t bias;             // 1: adds a vector [rows] of the result's type to every column
    std::int64_t aligned_a, aligned_b, aligned_d, aligned_bias;  // alignment_of() the operands

    /// "a matrix product bf16 [128,64] * [64,10] into f32".
    std::string to_string() const;
};

struct MatmulOperands {
    const void *a, *b;
    void* d;
    const void* bias;
};

/// Scratch for any matrix product: what NVIDIA recommends for Hopper.
constexpr std::size_t kMatmulWorkspace = std::size_t{32} << 20;

/// One algorithm for one product. Deterministic.
class MatmulPlan {
  public:
    virtual ~MatmulPlan() = default;
    /// d = product [+ bias] or, with `add`, d += product. `workspace`: kMatmulWorkspace bytes.
    virtual void run(const Context& context, const MatmulOperands& operands, bool add, void* workspace) = 0;
};

/// f32 factors are rounded to tf32 where context.numerics() says so. Null where the library has no algorithm.
/// The first call for a problem may do what a stream capture forbids: inside one it throws.
MatmulPlan* matmul_plan(const Context& context, const MatmulProblem& problem);

}  // namespace qstep::cuda

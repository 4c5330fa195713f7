// One convolution as an operation graph of cuDNN, and the engine configurations offered for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/conv2d.h"
#include "kernels/cuda/cudnn_handle.h"

namespace qstep::cuda {

enum class ConvPass : std::int64_t { forward, backward_data, backward_weights };

/// What identifies a plan; a key of the plan cache. Activations are NHWC, weights [O,KH,KW,I].
struct ConvProblem {
    Conv2dShape shape;
    ConvPass pass;
    std::int64_t dtype;       // DType of both operands
    std::int64_t result;      // DType of what is written; differs from dtype only for weight gradients
    std::int64_t accumulate;  // 1: result = convolution + result

    bool in_bf16() const { return dtype == static_cast<std::int64_t>(DType::bf16); }
    /// "bf16 data gradient of a convolution, x [128,32,32,16], w [16,16,3,3], stride 1, pad 1".
    std::string to_string() const;
};

/// Addresses of a problem's three tensors: x or dx, w or dw, y or dy.
struct ConvOperands {
    void *x, *w, *y;
};

/// The graph with all descriptors it is made of. Operands are promised to lie on multiples of kAlignment
/// bytes.
class ConvGraph {
  public:
    static constexpr std::int64_t kAlignment = 16;
    static constexpr std::int64_t kIds[] = {1, 2, 3};  // of x, w and y in variant packs

    ConvGraph(const CudnnHandle& handle, const ConvProblem& problem);

    /// Engine configurations, the ones that the heuristic holds fastest first; empty where it knows none.
    std::vector<CudnnDescriptor> configurations(cudnnBackendHeurMode_t mode) const;

  private:
    CudnnDescriptor x_, w_, y_, convolution_, operation_, graph_;
};

/// What an engine says about itself.
struct EngineNotes {
    std::int64_t index = -1;  // cuDNN's number of the engine
    bool numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = {};
    bool behavior[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT] = {};
};
EngineNotes notes_of(const CudnnDescriptor& configuration);

/// Whether an engine computes what the problem asks for: sums in float32, f32 factors not rounded unless
/// `numerics.tf32`, in a fixed order if `numerics.deterministic`. Winograd and Fourier transforms are
/// admitted only where their rounding stays near that of the plain sum: F(2x2,3x3) in f32.
bool is_admissible(const EngineNotes& engine, const ConvProblem& problem, const Numerics& numerics);

}  // namespace qstep::cuda

// One convolution as an operation graph of cuDNN, and the engine configurations offered for it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/cudnn_handle.h"
#include "kernels/cuda/library_plans.h"

namespace qstep::cuda {

/// What engines are asked for: a GPU through a handle or, on machines without one, through its description
/// (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR).
struct CudnnTarget {
    cudnnHandle_t handle = nullptr;
    const CudnnDescriptor* properties = nullptr;
};

/// The graph with all descriptors it is made of.
class ConvGraph {
  public:
    static constexpr std::int64_t kIds[] = {1, 2, 3};  // of x, w and y in variant packs

    ConvGraph(const CudnnTarget& target, const ConvProblem& problem);

    /// Engine configurations, the ones that the heuristic holds fastest first; empty where it knows none.
    std::vector<CudnnDescriptor> configurations(cudnnBackendHeurMode_t mode) const;

  private:
    const CudnnDescriptor* properties_;
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

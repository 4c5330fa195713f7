// Convolution plans: which of cuDNN's engines computes a problem, chosen by timing once and kept.
#pragma once

#include <memory>

#include "kernels/cuda/cudnn_graph.h"

namespace qstep::cuda {

/// One engine, ready to run. Owns every descriptor it was made of.
class ConvPlan {
  public:
    ConvPlan(std::shared_ptr<CudnnHandle> handle, std::shared_ptr<const ConvGraph> graph,
             CudnnDescriptor configuration, CudnnDescriptor plan);

    std::size_t workspace_bytes() const { return workspace_bytes_; }
    std::int64_t engine() const { return engine_; }
    /// Queues the convolution on the handle's stream; `workspace` lies on a multiple of 256 bytes.
    cudnnStatus_t try_run(const ConvOperands& operands, void* workspace) const;

  private:
    std::shared_ptr<CudnnHandle> handle_;
    std::shared_ptr<const ConvGraph> graph_;
    CudnnDescriptor configuration_, plan_;
    std::size_t workspace_bytes_ = 0;
    std::int64_t engine_ = -1;
};

/// The plan in a slot of the plan cache; empty where no admissible engine computes the problem.
struct ChosenPlan {
    std::unique_ptr<ConvPlan> plan;
};

/// The plan for `problem` under context.numerics(). The first call for a problem chooses it: the engines that
/// cuDNN's heuristic ranks first run on scratch tensors allocated for this, each as a captured graph (so one
/// that cannot be captured is never chosen), and the fastest is kept. This launches, allocates and waits, so
/// it belongs to laying out: a first call inside a stream capture throws. Timing may choose differently in
/// two runs; where `numerics().deterministic` the heuristic's first working engine is taken without timing,
/// so that two runs compute the same bits. A problem with `accumulate` takes the engine that was chosen for
/// the same one without, where it can.
const ChosenPlan& conv_plan(const Context& context, const ConvProblem& problem);

}  // namespace qstep::cuda

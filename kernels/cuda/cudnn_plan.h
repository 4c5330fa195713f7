// Convolution plans: which of cuDNN's engines computes a problem, chosen by timing once and kept.
#pragma once

#include <memory>

#include "kernels/cuda/cudnn_graph.h"

namespace qstep::cuda {

/// One engine, ready to run. Owns every descriptor it was made of.
class CudnnPlan : public ConvPlan {
  public:
    CudnnPlan(std::shared_ptr<CudnnHandle> handle, std::shared_ptr<const ConvGraph> graph,
              CudnnDescriptor configuration, CudnnDescriptor plan, const ConvProblem& problem);

    std::size_t workspace_bytes() const override { return workspace_bytes_; }
    void run(const Context& context, const ConvOperands& operands, void* workspace) override;
    /// The same on the stream that the handle is set to, with the error for the caller.
    cudnnStatus_t try_run(const ConvOperands& operands, void* workspace) const;
    /// cuDNN's number of the engine.
    std::int64_t engine() const { return engine_; }

  private:
    ConvProblem problem_;
    std::shared_ptr<CudnnHandle> handle_;
    std::shared_ptr<const ConvGraph> graph_;
    CudnnDescriptor configuration_, plan_;
    std::size_t workspace_bytes_ = 0;
    std::int64_t engine_ = -1;
};

/// Chooses the plan: the engines that cuDNN's heuristic ranks first run on scratch tensors allocated for
/// this, each as a captured graph (so one that cannot be captured is never chosen), and the fastest is kept.
/// Timing may choose differently in two runs; where `context.numerics().deterministic` the heuristic's first
/// working engine is taken, so that two runs compute the same bits. So is it where `preferred` is not
/// negative, and configurations of that engine come first then. Null where no admissible engine works.
std::unique_ptr<CudnnPlan> choose_plan(const Context& context, const ConvProblem& problem,
                                       std::int64_t preferred);

}  // namespace qstep::cuda

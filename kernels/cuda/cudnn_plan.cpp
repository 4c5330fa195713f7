#include "kernels/cuda/cudnn_plan.h"

#include <algorithm>
#include <optional>

#include "engine/cuda/runtime.h"
#include "kernels/cuda/time_captured.h"
#include "kernels/cuda/trial.h"

namespace qstep::cuda {

namespace {

// Engines to time for one problem. Heuristics rank well: the fastest is nearly always among the first few.
constexpr int kPrecompiled = 12;
// Each costs some tenths of a second of compilation, for some fifty problems a run.
constexpr int kCompiled = 2;
// As much as the activations of a large batch; the workspace is one for all layers.
constexpr std::size_t kWorkspaceLimit = std::size_t{256} << 20;

/// Finds one problem's plan.
class Search {
  public:
    Search(const Context& context, const ConvProblem& problem)
        : context_(context),
          problem_(problem),
          handle_(cudnn_handle(context).shared_from_this()),
          graph_(std::make_shared<const ConvGraph>(CudnnTarget{handle_->get()}, problem)) {}

    /// The fastest; where `engine` is not negative, or in deterministic runs, the first that runs, with that
    /// engine's plans before others.
    std::unique_ptr<CudnnPlan> find(std::int64_t engine) {
        collect(CUDNN_HEUR_MODE_A);
        if (candidates_.size() < 2) collect(CUDNN_HEUR_MODE_FALLBACK);
        if (candidates_.empty()) return nullptr;
        std::ranges::stable_partition(candidates_,
                                      [&](const auto& candidate) { return candidate->engine() == engine; });
        return fastest(engine >= 0 || context_.numerics().deterministic);
    }

  private:
    void collect(cudnnBackendHeurMode_t mode) {
        int precompiled = 0, compiled = 0;
        for (CudnnDescriptor& configuration : graph_->configurations(mode)) {
            const EngineNotes notes = notes_of(configuration);
            if (!is_admissible(notes, problem_, context_.numerics())) continue;
            int& count = notes.behavior[CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION] ? compiled : precompiled;
            if (count == (&count == &compiled ? kCompiled : kPrecompiled)) continue;
            CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
            plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle_->get())
                .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
            if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) continue;
            auto candidate = std::make_unique<CudnnPlan>(handle_, graph_, std::move(configuration),
                                                         std::move(plan), problem_);
            if (candidate->workspace_bytes() > kWorkspaceLimit) continue;
            ++count;
            candidates_.push_back(std::move(candidate));
        }
    }

    std::unique_ptr<CudnnPlan> fastest(bool first_that_runs) {
        const Conv2dShape& shape = problem_.shape;
        const auto bytes = [&](const Shape& extents) {
            return static_cast<std::size_t>(extents.count()) * size_of(static_cast<DType>(problem_.dtype));
        };
        std::size_t workspace_bytes = 0;
        for (const auto& candidate : candidates_)
            workspace_bytes = std::max(workspace_bytes, candidate->workspace_bytes());
        const Trial x(context_, bytes(shape.x())), w(context_, bytes(shape.w())),
            y(context_, bytes(shape.y())), workspace(context_, workspace_bytes);
        const ConvOperands operands{x.get(), w.get(), y.get()};
        std::unique_ptr<CudnnPlan> best;
        std::optional<float> best_time;
        for (auto& candidate : candidates_) {
            const std::optional<float> time = time_captured(stream_of(context_), [&] {
                return candidate->try_run(operands, workspace.get()) == CUDNN_STATUS_SUCCESS;
            });
            if (!time || (best_time && *best_time <= *time)) continue;
            best_time = time;
            best = std::move(candidate);
            if (first_that_runs) break;
        }
        return best;
    }

    const Context& context_;
    const ConvProblem& problem_;
    std::shared_ptr<CudnnHandle> handle_;
    std::shared_ptr<const ConvGraph> graph_;
    std::vector<std::unique_ptr<CudnnPlan>> candidates_;
};

void check_not_capturing(const Context& context, const ConvProblem& problem) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    QSTEP_CUDA_CHECK(cudaStreamIsCapturing(stream_of(context), &status));
    QSTEP_CHECK(status == cudaStreamCaptureStatusNone,
                "the {} has no plan yet, and none can be chosen while a step is captured: conv2d_workspace() "
                "chooses it beforehand",
                problem.to_string());
}

}  // namespace

CudnnPlan::CudnnPlan(std::shared_ptr<CudnnHandle> handle, std::shared_ptr<const ConvGraph> graph,
                     CudnnDescriptor configuration, CudnnDescriptor plan, const ConvProblem& problem)
    : problem_(problem),
      handle_(std::move(handle)),
      graph_(std::move(graph)),
      configuration_(std::move(configuration)),
      plan_(std::move(plan)),
      engine_(notes_of(configuration_).index) {
    std::int64_t bytes = 0, count = 0;
    QSTEP_CUDNN_CHECK(cudnnBackendGetAttribute(plan_.raw(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                               CUDNN_TYPE_INT64, 1, &count, &bytes),
                      "the workspace of a plan");
    workspace_bytes_ = static_cast<std::size_t>(bytes);
}

cudnnStatus_t CudnnPlan::try_run(const ConvOperands& operands, void* workspace) const {
    void* const addresses[] = {operands.x, operands.w, operands.y};
    CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ConvGraph::kIds)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, addresses)
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace)
        .finalize("the operands of a convolution");
    return cudnnBackendExecute(handle_->get(), plan_.raw(), pack.raw());
}

void CudnnPlan::run(const Context& context, const ConvOperands& operands, void* workspace) {
    cudnn_handle(context);  // sets the stream
    QSTEP_CUDNN_CHECK(try_run(operands, workspace), problem_.to_string());
}

std::unique_ptr<CudnnPlan> choose_plan(const Context& context, const ConvProblem& problem,
                                       std::int64_t preferred) {
    return Search(context, problem).find(preferred);
}

namespace {

/// A slot of the plan cache: that there is no plan is remembered too.
struct Chosen {
    std::unique_ptr<CudnnPlan> plan;
};

const Chosen& chosen_plan(const Context& context, const ConvProblem& problem) {
    std::int64_t preferred = -1;
    if (problem.accumulate != 0) {
        ConvProblem overwriting = problem;
        overwriting.accumulate = 0;
        if (const Chosen& chosen = chosen_plan(context, overwriting); chosen.plan)
            preferred = chosen.plan->engine();
    }
    return context.plans().get<Chosen>(problem, [&] {
        check_not_capturing(context, problem);
        return std::make_shared<Chosen>(Chosen{choose_plan(context, problem, preferred)});
    });
}

}  // namespace

ConvPlan* conv_plan(const Context& context, const ConvProblem& problem) {
    return chosen_plan(context, problem).plan.get();
}

}  // namespace qstep::cuda

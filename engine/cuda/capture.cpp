#include "engine/cuda/capture.h"

#include <optional>
#include <type_traits>
#include <utility>

#include "engine/cuda/runtime.h"
#include "engine/eager_step.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)>;

/// A graph ready to be launched.
class Executable {
  public:
    Executable(cudaStream_t stream, const Graph& graph) {
        QSTEP_CUDA_CHECK(cudaGraphInstantiate(&handle_, graph.get(), 0));
        QSTEP_CUDA_CHECK(cudaGraphUpload(handle_, stream));
    }
    ~Executable() {
        if (handle_ != nullptr) cudaGraphExecDestroy(handle_);
    }
    Executable(const Executable&) = delete;
    Executable& operator=(const Executable&) = delete;

    void launch(cudaStream_t stream) const { QSTEP_CUDA_CHECK(cudaGraphLaunch(handle_, stream)); }

  private:
    cudaGraphExec_t handle_ = nullptr;
};

Graph record(Context& context, const std::function<void(Context&)>& step, int times) {
    const cudaStream_t stream = stream_of(context);
    cudaGraph_t recorded = nullptr;
    // Other threads, such as the loader's, may go on using the runtime meanwhile.
    QSTEP_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
        for (int i = 0; i < times; ++i) step(context);
    } catch (...) {
        // The step's own error says more than that of the capture it spoilt.
        if (cudaStreamEndCapture(stream, &recorded) == cudaSuccess) cudaGraphDestroy(recorded);
        cudaGetLastError();
        throw;
    }
    QSTEP_CUDA_CHECK(cudaStreamEndCapture(stream, &recorded));
    return {recorded, &cudaGraphDestroy};
}

/// One graph of a single step, and one of several for as long as so many are left.
class GraphStep : public CapturedStep {
  public:
    GraphStep(Context& context, const std::function<void(Context&)>& step, int at_once)
        : context_(context), at_once_(at_once), single_(stream_of(context), record(context, step, 1)) {
        if (at_once > 1) several_.emplace(stream_of(context), record(context, step, at_once));
    }
    void launch(int times) override {
        const cudaStream_t stream = stream_of(context_);
        if (several_)
            for (; times >= at_once_; times -= at_once_) several_->launch(stream);
        for (; times > 0; --times) single_.launch(stream);
    }

  private:
    Context& context_;
    int at_once_;
    Executable single_;
    std::optional<Executable> several_;
};

}  // namespace

std::unique_ptr<CapturedStep> capture_step(Context& context, std::function<void(Context&)> step,
                                           int at_once) {
    if (context.eager()) return std::make_unique<EagerStep>(context, std::move(step));
    step(context);
    QSTEP_CUDA_CHECK(cudaStreamSynchronize(stream_of(context)));
    return std::make_unique<GraphStep>(context, step, at_once);
}

void refuse_inside_capture(const Context& context, const char* what) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    QSTEP_CUDA_CHECK(cudaStreamIsCapturing(stream_of(context), &status));
    QSTEP_CHECK(status == cudaStreamCaptureStatusNone, "a captured step {}", what);
}

}  // namespace qstep::cuda

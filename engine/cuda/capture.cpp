#include "engine/cuda/capture.h"

#include <type_traits>
#include <utility>

#include "engine/cuda/runtime.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

class EagerStep : public CapturedStep {
  public:
    EagerStep(Context& context, std::function<void(Context&)> step)
        : context_(context), step_(std::move(step)) {}
    void launch(int times) override {
        for (int i = 0; i < times; ++i) step_(context_);
    }

  private:
    Context& context_;
    std::function<void(Context&)> step_;
};

using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, decltype(&cudaGraphDestroy)>;

class GraphStep : public CapturedStep {
  public:
    GraphStep(Context& context, Graph graph) : context_(context) {
        const cudaStream_t stream = stream_of(context_);
        QSTEP_CUDA_CHECK(cudaGraphInstantiate(&executable_, graph.get(), 0));
        QSTEP_CUDA_CHECK(cudaGraphUpload(executable_, stream));
    }
    ~GraphStep() override {
        if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
    }
    GraphStep(const GraphStep&) = delete;
    GraphStep& operator=(const GraphStep&) = delete;

    void launch(int times) override {
        const cudaStream_t stream = stream_of(context_);
        for (int i = 0; i < times; ++i) QSTEP_CUDA_CHECK(cudaGraphLaunch(executable_, stream));
    }

  private:
    Context& context_;
    cudaGraphExec_t executable_ = nullptr;
};

Graph record(Context& context, const std::function<void(Context&)>& step) {
    const cudaStream_t stream = stream_of(context);
    cudaGraph_t recorded = nullptr;
    // Other threads, such as the loader's, may go on using the runtime meanwhile.
    QSTEP_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
        step(context);
    } catch (...) {
        // The step's own error says more than that of the capture it spoilt.
        if (cudaStreamEndCapture(stream, &recorded) == cudaSuccess) cudaGraphDestroy(recorded);
        cudaGetLastError();
        throw;
    }
    QSTEP_CUDA_CHECK(cudaStreamEndCapture(stream, &recorded));
    return {recorded, &cudaGraphDestroy};
}

}  // namespace

std::unique_ptr<CapturedStep> capture_step(Context& context, std::function<void(Context&)> step) {
    if (context.eager()) return std::make_unique<EagerStep>(context, std::move(step));
    return std::make_unique<GraphStep>(context, record(context, step));
}

void refuse_inside_capture(const Context& context, const char* what) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    QSTEP_CUDA_CHECK(cudaStreamIsCapturing(stream_of(context), &status));
    QSTEP_CHECK(status == cudaStreamCaptureStatusNone, "a captured step {}", what);
}

}  // namespace qstep::cuda

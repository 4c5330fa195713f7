#include "kernels/cuda/time_captured.h"

#include <algorithm>
#include <limits>

namespace qstep::cuda {

namespace {

constexpr int kRepetitions = 10;  // in one graph: its own launch weighs little then
constexpr int kRounds = 3;        // of which the best counts: other work can only slow a round down

class Event {
  public:
    Event() { QSTEP_CUDA_CHECK(cudaEventCreate(&event_)); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    cudaEvent_t get() const { return event_; }

  private:
    cudaEvent_t event_ = nullptr;
};

struct Graph {
    ~Graph() {
        if (instance != nullptr) cudaGraphExecDestroy(instance);
        if (graph != nullptr) cudaGraphDestroy(graph);
    }
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t instance = nullptr;
};

// False where a launch fails or the recording cannot become a graph. CUDA remembers a failed call until it is
// asked, and what was only tried must not fail the next check.
bool record(Graph& to, cudaStream_t stream, const std::function<bool()>& launches) {
    QSTEP_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    bool recorded = true;
    try {
        for (int i = 0; i < kRepetitions && recorded; ++i) recorded = launches();
    } catch (...) {
        // A stream that is left in its capture would fail whatever comes next, with another sentence.
        if (cudaStreamEndCapture(stream, &to.graph) != cudaSuccess) cudaGetLastError();
        throw;
    }
    recorded = cudaStreamEndCapture(stream, &to.graph) == cudaSuccess && recorded;
    recorded = recorded && cudaGraphInstantiate(&to.instance, to.graph, 0) == cudaSuccess;
    if (!recorded) cudaGetLastError();
    return recorded;
}

}  // namespace

std::optional<float> time_captured(cudaStream_t stream, const std::function<bool()>& launches) {
    const bool runs = launches();
    QSTEP_CUDA_CHECK(cudaStreamSynchronize(stream));
    Graph graph;
    if (!runs) cudaGetLastError();
    if (!runs || !record(graph, stream, launches)) return std::nullopt;
    const Event start, stop;
    float best = std::numeric_limits<float>::infinity();
    for (int round = 0; round < kRounds; ++round) {
        QSTEP_CUDA_CHECK(cudaEventRecord(start.get(), stream));
        QSTEP_CUDA_CHECK(cudaGraphLaunch(graph.instance, stream));
        QSTEP_CUDA_CHECK(cudaEventRecord(stop.get(), stream));
        QSTEP_CUDA_CHECK(cudaEventSynchronize(stop.get()));
        float milliseconds = 0.0f;
        QSTEP_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.get(), stop.get()));
        best = std::min(best, milliseconds);
    }
    return best / kRepetitions;
}

}  // namespace qstep::cuda

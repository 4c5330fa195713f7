// Streams, captured graphs, events, copies.
#include <chrono>
#include <set>

#include "block.h"
#include "state.h"

struct CUstream_st {
    int device;
    CUgraph_st* graph = nullptr;  // being recorded
};

struct CUevent_st {
    std::chrono::steady_clock::time_point recorded;
    CUgraph_st* graph = nullptr;  // in which it was recorded
};

namespace emulation {

namespace {

// Of the capture that this thread began.
thread_local cudaStream_t capturing_stream = nullptr;
thread_local bool capture_spoilt = false;
thread_local std::vector<std::string> ranges;

Order order_setting() {
    const char* name = std::getenv("QSTEP_EMULATED_ORDER");
    if (name == nullptr || std::string_view(name) == "forward") return Order::forward;
    return std::string_view(name) == "reverse" ? Order::reverse : Order::shuffled;
}

cudaError_t spoil_capture(cudaError_t error) {
    capture_spoilt = true;
    return remember(error);
}

// A kernel that starts early does not find device memory in reach before it has waited: so it is on its first
// launch, since that takes some milliseconds.
class EarlyStart {
  public:
    EarlyStart(const Launch& launch, const std::string& name) {
        static std::set<const void*> launched;
        if (launch.early && launched.insert(launch.kernel).second) hide_device_memory(name);
    }
    ~EarlyStart() { show_device_memory(); }
    EarlyStart(const EarlyStart&) = delete;
    EarlyStart& operator=(const EarlyStart&) = delete;
};

std::string run_blocks(const Launch& launch, const std::string& name) {
    const Order order = order_setting();
    const EarlyStart start(launch, name);
    gridDim = launch.grid;
    blockDim = launch.block;
    for (unsigned turn = 0; turn < launch.grid.x; ++turn) {
        blockIdx = dim3(order == Order::forward ? turn : launch.grid.x - 1 - turn, 0, 0);
        poison_shared(launch.shared_bytes);
        const std::string misuse =
            block_runner().run(static_cast<int>(launch.block.x), order, launch.early, launch.thread);
        if (!misuse.empty()) return misuse;
    }
    return {};
}

}  // namespace

cudaError_t refuse_while_capturing() {
    return capturing_stream == nullptr ? cudaSuccess : spoil_capture(cudaErrorStreamCaptureUnsupported);
}

bool starts_early(const cudaLaunchConfig_t& config) {
    bool early = false;
    for (unsigned i = 0; i < config.numAttrs; ++i)
        if (config.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization)
            early = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
    return early;
}

std::string innermost_range() {
    return ranges.empty() ? "a kernel without a name" : ranges.back();
}

cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work) {
    if (capturing_stream != nullptr && (stream == nullptr || capture_spoilt))
        return spoil_capture(capture_spoilt ? cudaErrorStreamCaptureInvalidated
                                            : cudaErrorStreamCaptureUnsupported);
    if (stream != nullptr && stream->graph != nullptr) {
        stream->graph->nodes.push_back(std::move(work));
        return cudaSuccess;
    }
    const DeviceAccess access;
    return work();
}

cudaError_t run(const Launch& launch, const std::string& name) {
    static int runs_of_failing_kernel = 0;
    const char* const failing = std::getenv("QSTEP_EMULATED_FAILING_KERNEL");
    if (failing != nullptr && name == failing &&
        ++runs_of_failing_kernel == setting("QSTEP_EMULATED_FAILING_RUN", 1))
        return fail_launch(name + ": made to fail");
    const std::string misuse = run_blocks(launch, name);
    return misuse.empty() ? cudaSuccess
                          : fail_launch(name + ", block " + std::to_string(blockIdx.x) + ": " + misuse);
}

}  // namespace emulation

using namespace emulation;

int nvtxRangePushA(const char* name) {
    ranges.emplace_back(name);
    return static_cast<int>(ranges.size()) - 1;
}

int nvtxRangePop() {
    ranges.pop_back();
    return static_cast<int>(ranges.size());
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    int device = 0;
    cudaGetDevice(&device);
    *stream = new CUstream_st{device};
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return refuse_while_capturing();
}

cudaError_t cudaDeviceSynchronize() {
    return refuse_while_capturing();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    // Work that waits for captured work belongs to the same graph, where one order serves all streams.
    if (capturing_stream != nullptr && event->graph == capturing_stream->graph && stream->graph == nullptr) {
        stream->graph = event->graph;
        stream->graph->streams.push_back(stream);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (stream == nullptr || capturing_stream != nullptr) return remember(cudaErrorStreamCaptureUnsupported);
    stream->graph = new CUgraph_st{{}, {stream}};
    capturing_stream = stream;
    capture_spoilt = false;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    if (stream == nullptr || stream != capturing_stream) return remember(cudaErrorInvalidValue);
    CUgraph_st* const recorded = stream->graph;
    for (const cudaStream_t joined : recorded->streams) joined->graph = nullptr;
    capturing_stream = nullptr;
    if (capture_spoilt) {
        delete recorded;
        return remember(cudaErrorStreamCaptureInvalidated);
    }
    *graph = recorded;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    const bool capturing = stream != nullptr && stream->graph != nullptr;
    *status = !capturing       ? cudaStreamCaptureStatusNone
              : capture_spoilt ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = new CUevent_st{};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
    return cudaEventCreateWithFlags(event, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    event->graph = stream == nullptr ? nullptr : stream->graph;
    event->recorded = std::chrono::steady_clock::now();
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t) {
    return refuse_while_capturing();
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
    return refuse_while_capturing();
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
    return refuse_while_capturing();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    return enqueue(stream, [nodes = executable->nodes] {
        for (const auto& node : nodes)
            if (const cudaError_t status = node(); status != cudaSuccess) return status;
        return cudaSuccess;
    });
}

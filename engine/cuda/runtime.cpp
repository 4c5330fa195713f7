#include "engine/cuda/runtime.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace qstep::cuda {

namespace {

constexpr std::int64_t kMaxBlocks = 0x7fffffff;
constexpr int kMaxThreads = 1024;
/// 48 KiB need no leave, but a kernel's static shared memory counts among them; no kernel has 32 KiB of that.
constexpr std::size_t kSharedWithoutLeave = 16 << 10;

/// The first architecture whose kernels can wait for the one before; as cudaFuncAttributes::ptxVersion.
constexpr int kFirstThatWaits = 90;

/// What is known of a kernel on a device.
struct KernelState {
    std::optional<bool> starts_early;
    std::size_t shared_bytes = kSharedWithoutLeave;  // that it is allowed
};

/// Of the code that runs, not of the device: one made for an older architecture and translated for this one
/// has nothing that waits.
cudaError_t find_whether_early(KernelState& state, const void* kernel) {
    if (state.starts_early) return cudaSuccess;
    const char* const setting = std::getenv("QSTEP_PROGRAMMATIC_LAUNCH");
    if (setting != nullptr && std::string_view(setting) == "0") {
        state.starts_early = false;
        return cudaSuccess;
    }
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel);
    if (status == cudaSuccess) state.starts_early = attributes.ptxVersion >= kFirstThatWaits;
    return status;
}

/// Raises the limit, once for each growth.
cudaError_t allow_shared(KernelState& state, const void* kernel, std::size_t bytes) {
    if (bytes <= state.shared_bytes) return cudaSuccess;
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (status == cudaSuccess) state.shared_bytes = bytes;
    return status;
}

/// Kernels fail after the call that launched them; what helps to find out which it was.
const char* advice(cudaError_t status) {
    switch (status) {
        case cudaErrorIllegalAddress:
        case cudaErrorMisalignedAddress:
        case cudaErrorLaunchFailure:
        case cudaErrorIllegalInstruction:
        case cudaErrorInvalidPc:
        case cudaErrorInvalidAddressSpace:
        case cudaErrorHardwareStackError:
        case cudaErrorAssert:
            return "; it may have been an earlier kernel: CUDA_LAUNCH_BLOCKING=1 and --no-graph show which";
        default:
            return "";
    }
}

}  // namespace

cudaStream_t stream_of(const Context& context) {
    QSTEP_CUDA_CHECK(cudaSetDevice(context.device().index));
    return static_cast<cudaStream_t>(context.stream());
}

namespace detail {

void check(cudaError_t status, const char* call, const char* file, int line) {
    if (status == cudaSuccess) return;
    cudaGetLastError();  // an error that was reported must not be reported again by a later call
    std::string_view name(file);
    if (const auto slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
    fail_run("CUDA: {}{} [{} failed at {}:{}]", cudaGetErrorString(status), advice(status), call, name, line);
}

bool prepare_launch(const char* name, const void* kernel, const LaunchShape& shape) {
    QSTEP_CHECK(shape.blocks <= kMaxBlocks, "{} in {} blocks", name, shape.blocks);
    QSTEP_CHECK(shape.threads >= 1 && shape.threads <= kMaxThreads, "{} in blocks of {} threads", name,
                shape.threads);
    static std::mutex mutex;
    static std::map<std::pair<const void*, int>, KernelState> states;
    int device = 0;
    cudaError_t status = cudaGetDevice(&device);
    const std::lock_guard lock(mutex);
    KernelState& state = states[{kernel, device}];
    if (status == cudaSuccess) status = find_whether_early(state, kernel);
    if (status == cudaSuccess) status = allow_shared(state, kernel, shape.shared_bytes);
    if (status != cudaSuccess) fail_launch(name, shape, status);
    return *state.starts_early;
}

void fail_launch(const char* name, const LaunchShape& shape, cudaError_t status) {
    cudaGetLastError();
    fail_run("launching {} in {} blocks of {} threads with {} bytes of shared memory failed: {}{}", name,
             shape.blocks, shape.threads, shape.shared_bytes, cudaGetErrorString(status), advice(status));
}

}  // namespace detail

}  // namespace qstep::cuda

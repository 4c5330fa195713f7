#include "engine/cuda/runtime.h"

#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include "engine/error.h"

namespace qstep::cuda {

namespace {

constexpr std::int64_t kMaxBlocks = 0x7fffffff;
constexpr int kMaxThreads = 1024;
/// 48 KiB need no leave, but a kernel's static shared memory counts among them; no kernel has 32 KiB of that.
constexpr std::size_t kSharedWithoutLeave = 16 << 10;

/// Raises the limit of this kernel on the current device, once for each growth.
cudaError_t allow_shared(const void* kernel, std::size_t bytes) {
    static std::mutex mutex;
    static std::map<std::pair<const void*, int>, std::size_t> allowed;
    int device = 0;
    if (const cudaError_t status = cudaGetDevice(&device); status != cudaSuccess) return status;
    const std::lock_guard lock(mutex);
    std::size_t& limit = allowed[{kernel, device}];
    if (bytes <= limit) return cudaSuccess;
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (status == cudaSuccess) limit = bytes;
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

void prepare_launch(const char* name, const void* kernel, const LaunchShape& shape) {
    QSTEP_CHECK(shape.blocks <= kMaxBlocks, "{} in {} blocks", name, shape.blocks);
    QSTEP_CHECK(shape.threads >= 1 && shape.threads <= kMaxThreads, "{} in blocks of {} threads", name,
                shape.threads);
    if (shape.shared_bytes <= kSharedWithoutLeave) return;
    if (const cudaError_t status = allow_shared(kernel, shape.shared_bytes); status != cudaSuccess)
        fail_launch(name, shape, status);
}

void fail_launch(const char* name, const LaunchShape& shape, cudaError_t status) {
    cudaGetLastError();
    fail_run("launching {} in {} blocks of {} threads with {} bytes of shared memory failed: {}{}", name,
             shape.blocks, shape.threads, shape.shared_bytes, cudaGetErrorString(status), advice(status));
}

}  // namespace detail

}  // namespace qstep::cuda

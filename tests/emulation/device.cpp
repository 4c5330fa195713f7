// What the emulated GPUs are, errors, and the limits of kernels.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "state.h"

namespace emulation {

namespace {

constexpr int kRuntimeVersion = 13000;
// A device's 48 KiB, less what static shared memory may take of them, which is not known here.
constexpr std::size_t kSharedWithoutLeave = 16 << 10;
constexpr std::size_t kSharedWithLeave = 227 << 10;
constexpr unsigned kMaxThreads = 1024;
// Few, so that a loop over the grid goes round more than once.
constexpr int kMultiprocessors = 4;

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::string last_misuse;
std::map<const void*, std::size_t> shared_limits;

int driver_version() {
    return setting("QSTEP_EMULATED_DRIVER", kRuntimeVersion);
}

std::size_t shared_limit(const void* kernel) {
    const std::lock_guard lock(device_mutex());
    const auto found = shared_limits.find(kernel);
    return found == shared_limits.end() ? kSharedWithoutLeave : found->second;
}

}  // namespace

int setting(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
}

int gpu_count() {
    return setting("QSTEP_EMULATED_GPUS", 1);
}

cudaError_t remember(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t fail_launch(const std::string& what) {
    last_misuse = what;
    return remember(cudaErrorLaunchFailure);
}

cudaError_t check_launch(const Launch& launch) {
    const unsigned threads = launch.block.x;
    if (launch.grid.x == 0 || threads == 0 || threads > kMaxThreads)
        return remember(cudaErrorInvalidConfiguration);
    if (launch.grid.y * launch.grid.z * launch.block.y * launch.block.z != 1)
        return fail_launch("grids and blocks have one dimension here");
    return launch.shared_bytes > shared_limit(launch.kernel) ? remember(cudaErrorInvalidValue) : cudaSuccess;
}

}  // namespace emulation

using namespace emulation;

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "cudaSuccess";
        case cudaErrorInvalidValue:
            return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation:
            return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration:
            return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver:
            return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice:
            return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice:
            return "cudaErrorInvalidDevice";
        case cudaErrorNoKernelImageForDevice:
            return "cudaErrorNoKernelImageForDevice";
        case cudaErrorInvalidResourceHandle:
            return "cudaErrorInvalidResourceHandle";
        case cudaErrorNotReady:
            return "cudaErrorNotReady";
        case cudaErrorIllegalAddress:
            return "cudaErrorIllegalAddress";
        case cudaErrorMisalignedAddress:
            return "cudaErrorMisalignedAddress";
        case cudaErrorLaunchFailure:
            return "cudaErrorLaunchFailure";
        case cudaErrorStreamCaptureUnsupported:
            return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated:
            return "cudaErrorStreamCaptureInvalidated";
        default:  // what nothing here can cause
            break;
    }
    return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorLaunchFailure ? last_misuse.c_str() : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() {
    return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaPeekAtLastError() {
    return last_error;
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = kRuntimeVersion;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    if (driver_version() < kRuntimeVersion) return remember(cudaErrorInsufficientDriver);
    *count = gpu_count();
    return *count == 0 ? remember(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= gpu_count()) return remember(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device < 0 || device >= gpu_count()) return remember(cudaErrorInvalidDevice);
    std::size_t free = 0;
    *properties = {};
    std::snprintf(properties->name, sizeof properties->name, "Emulated GPU");
    cudaMemGetInfo(&free, &properties->totalGlobalMem);
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = kSharedWithLeave;
    properties->major = 9;
    properties->multiProcessorCount = kMultiprocessors;
    properties->maxThreadsPerBlock = static_cast<int>(kMaxThreads);
    properties->maxThreadsPerMultiProcessor = 2 * static_cast<int>(kMaxThreads);
    properties->warpSize = warpSize;
    properties->l2CacheSize = 1 << 20;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
    const std::lock_guard lock(device_mutex());
    if (value < 0 || static_cast<std::size_t>(value) > kSharedWithLeave)
        return remember(cudaErrorInvalidValue);
    shared_limits[kernel] = std::max(kSharedWithoutLeave, static_cast<std::size_t>(value));
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
    *attributes = {};
    attributes->maxThreadsPerBlock = static_cast<int>(kMaxThreads);
    attributes->ptxVersion = setting("QSTEP_EMULATED_PTX", 90);
    attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_limit(kernel));
    return cudaSuccess;
}

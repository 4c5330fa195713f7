// Copies and fills. What does not lie where its kind says is refused, as is the host's memory in a capture.
#include "state.h"

using namespace emulation;

namespace {

bool touches_host(cudaMemcpyKind kind) {
    return kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToHost;
}

cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    const bool fits = (to_device ? on_device(to, bytes) : !is_device_address(to)) &&
                      (from_device ? on_device(from, bytes) : !is_device_address(from));
    return fits ? cudaSuccess : remember(cudaErrorInvalidValue);
}

cudaMemcpyKind resolve(const void* to, const void* from, cudaMemcpyKind kind) {
    if (kind != cudaMemcpyDefault) return kind;
    return static_cast<cudaMemcpyKind>((is_device_address(to) ? 1 : 0) + (is_device_address(from) ? 2 : 0));
}

}  // namespace

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    kind = resolve(to, from, kind);
    if (touches_host(kind))
        if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
    if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess) return status;
    return enqueue(stream, [to, from, bytes] {
        std::memmove(to, from, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
    if (!on_device(to, bytes)) return remember(cudaErrorInvalidValue);
    return enqueue(stream, [to, value, bytes] {
        std::memset(to, value, bytes);
        return cudaSuccess;
    });
}

cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

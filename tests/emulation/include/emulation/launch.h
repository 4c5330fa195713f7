// Launching a kernel: cudaLaunchKernelEx needs its types here, to copy the arguments and to look at pointers.
#pragma once

#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulation/api.h"
#include "emulation/language.h"

enum cudaLaunchAttributeID { cudaLaunchAttributeProgrammaticStreamSerialization = 6 };
union cudaLaunchAttributeValue {
    int programmaticStreamSerializationAllowed;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    cudaLaunchAttributeValue val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

namespace emulation {

/// Runs `work` now, or records it where the stream is captured. For stand-ins of libraries: while `work`
/// runs, device memory is in reach.
cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work);

struct Launch {
    const void* kernel;
    dim3 grid, block;
    std::size_t shared_bytes;
    bool early;                    // it may start before its predecessor has ended, so it must wait for it
    std::function<void()> thread;  // what one thread runs
};
/// What is wrong before anything runs: sizes, and arguments that point into the host's memory.
cudaError_t check_launch(const Launch& launch);
bool starts_early(const cudaLaunchConfig_t& config);
cudaError_t check_argument(const void* address);
cudaError_t run(const Launch& launch, const std::string& name);
std::string innermost_range();

}  // namespace emulation

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
    const std::tuple<std::remove_cv_t<P>...> values(std::forward<A>(arguments)...);
    emulation::Launch launch{reinterpret_cast<const void*>(kernel),
                             config->gridDim,
                             config->blockDim,
                             config->dynamicSmemBytes,
                             emulation::starts_early(*config),
                             [kernel, values] { std::apply(kernel, values); }};
    cudaError_t status = emulation::check_launch(launch);
    const auto check_pointer = [&status](const auto& value) {
        if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(value)>>)
            if (status == cudaSuccess) status = emulation::check_argument(value);
    };
    std::apply([&](const auto&... value) { (check_pointer(value), ...); }, values);
    if (status != cudaSuccess) return status;
    return emulation::enqueue(config->stream,
                              [launch = std::move(launch), name = emulation::innermost_range()] {
                                  return emulation::run(launch, name);
                              });
}

template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class... P>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(P...)) {
    return cudaFuncGetAttributes(attributes, reinterpret_cast<const void*>(kernel));
}

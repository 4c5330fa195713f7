// The one way to start a kernel, and the spelling of shared memory. Host code that only launches may include
// it too.
#pragma once

#include <nvtx3/nvToolsExt.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include "engine/cuda/runtime.h"

/// Static shared memory of a block: `QSTEP_SHARED float tile[256];` inside a kernel or device function.
#ifdef QSTEP_EMULATED_CUDA
#define QSTEP_SHARED static
#else
#define QSTEP_SHARED __shared__
#endif

namespace qstep::cuda {

#if defined(__CUDACC__) || defined(QSTEP_EMULATED_CUDA)
/// The dynamic shared memory of the block, LaunchShape::shared_bytes of it, aligned to 16 bytes.
template <class T>
__device__ inline T* dynamic_shared() {
#ifdef QSTEP_EMULATED_CUDA
    return static_cast<T*>(::emulation::dynamic_shared());
#else
    extern __shared__ __align__(16) unsigned char qstep_dynamic_shared[];
    return reinterpret_cast<T*>(qstep_dynamic_shared);
#endif
}
#endif

/// Launches kernel(args...) on the context's stream, inside an NVTX range called `name`; no blocks: nothing.
/// Arguments are converted to the kernel's parameters. Throws a run error that names kernel and shape.
template <class... P, class... A>
void launch(const Context& context, const char* name, void (*kernel)(P...), LaunchShape shape, A&&... args) {
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
    if (shape.blocks == 0) return;
    const cudaStream_t stream = stream_of(context);
    detail::prepare_launch(name, reinterpret_cast<const void*>(kernel), shape);
    std::tuple<std::remove_cv_t<P>...> values(std::forward<A>(args)...);
    const cudaError_t status = std::apply(
        [&](auto&... value) {
            void* addresses[] = {static_cast<void*>(&value)..., nullptr};
            nvtxRangePushA(name);
            const cudaError_t launched = cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(shape.blocks)),
                                                          dim3(static_cast<unsigned>(shape.threads)),
                                                          addresses, shape.shared_bytes, stream);
            nvtxRangePop();
            return launched;
        },
        values);
    if (status != cudaSuccess) detail::fail_launch(name, shape, status);
}

}  // namespace qstep::cuda

// The one way to start a kernel, what every kernel does first, and the spelling of shared memory. Host code
// that only launches may include it too.
//
// From compute capability 9.0 on, a kernel may be started before the one launched before it in its stream has
// ended ("programmatic dependent launch"), so that its start hides behind the other's end. In return every
// kernel calls wait_for_predecessor(), all of its threads do, before they touch global memory or return.
#pragma once

#include <nvtx3/nvToolsExt.h>

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

/// Waits until all that was launched before in the stream has ended and what it wrote is seen here, then lets
/// the next kernel's blocks start. What comes before the call overlaps with the predecessor: it may look at
/// parameters and indices and fill shared memory. Nothing where kernels are not started early.
///
/// Every kernel waits, also for what it does not read: the next kernel waits for this one alone, and what
/// lies further back has ended only because this one waited for it. The next one is let in behind the wait,
/// so two kernels of a stream are under way at most; by then all blocks of this one have started, so blocks
/// that wait take no multiprocessor, shared memory or registers from them.
__device__ inline void wait_for_predecessor() {
#if defined(QSTEP_EMULATED_CUDA) || __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// The same behind indices that are to be worked out before, all of them in one number: the compiler moves
/// arithmetic behind a wait that does not need it.
__device__ inline void wait_for_predecessor([[maybe_unused]] std::int64_t indices) {
#if __CUDA_ARCH__ >= 900
    // No indices make this number, but that is not known, so the wait needs them.
    asm volatile(
        "{ .reg .pred always; setp.ne.u64 always, %0, 0x8000000000000000; @always griddepcontrol.wait; }" ::
            "l"(indices)
        : "memory");
    cudaTriggerProgrammaticLaunchCompletion();
#else
    wait_for_predecessor();
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
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
    config.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = detail::prepare_launch(name, reinterpret_cast<const void*>(kernel), shape) ? 1 : 0;
    nvtxRangePushA(name);
    const cudaError_t status = cudaLaunchKernelEx(&config, kernel, std::forward<A>(args)...);
    nvtxRangePop();
    if (status != cudaSuccess) detail::fail_launch(name, shape, status);
}

}  // namespace qstep::cuda

// What every file on the CUDA side needs from the runtime: streams, checked calls, checked launches.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "engine/context.h"

namespace qstep::cuda {

/// The context's stream; its device becomes the calling thread's current one.
cudaStream_t stream_of(const Context& context);

/// Blocks of one grid, threads of one block, bytes of dynamic shared memory of one block.
struct LaunchShape {
    std::int64_t blocks;
    int threads;
    std::size_t shared_bytes = 0;
};

namespace detail {

void check(cudaError_t status, const char* call, const char* file, int line);
/// Throws where the shape is no shape; allows the kernel more shared memory than needs no leave. Whether it
/// may start before its predecessor has ended: its machine code must be able to wait, which that for devices
/// below compute capability 9.0 is not, and QSTEP_PROGRAMMATIC_LAUNCH=0 must not be in the environment when
/// it is launched first.
bool prepare_launch(const char* name, const void* kernel, const LaunchShape& shape);
[[noreturn]] void fail_launch(const char* name, const LaunchShape& shape, cudaError_t status);

}  // namespace detail

}  // namespace qstep::cuda

/// Throws a run error with the call's text, file:line and CUDA's message unless the call succeeds.
#define QSTEP_CUDA_CHECK(call) ::qstep::cuda::detail::check((call), #call, __FILE__, __LINE__)

// Copies from global into shared memory that pass no register and wait for nobody (PTX ISA, "cp.async";
// compute capability 8.0). A thread's copies form groups in the order of its calls.
#pragma once

#include <cstdint>

#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

/// 16 bytes, or as many zeros where not `present`; `from` is an address that may be read in either case.
__device__ inline void copy_16_bytes_async(void* to, const void* from, bool present) {
#ifdef QSTEP_EMULATED_CUDA
    ::emulation::copy_16_bytes_async(to, from, present);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(to))), "l"(from),
                   "r"(present ? 16 : 0)
                 : "memory");
#endif
}

/// Ends a group: this thread's copies since the last one, which may be none.
__device__ inline void end_copy_group() {
#ifdef QSTEP_EMULATED_CUDA
    ::emulation::end_copy_group();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits for all of this thread's groups but the last kPending. Other threads see the bytes behind a barrier.
template <int kPending>
__device__ inline void wait_for_copies() {
#ifdef QSTEP_EMULATED_CUDA
    ::emulation::wait_for_copies(kPending);
#else
    asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
#endif
}

}  // namespace qstep::cuda

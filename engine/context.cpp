#include "engine/context.h"

#include <omp.h>

#include "engine/backend.h"
#include "engine/error.h"

namespace qstep {

Context::Context(Device device, int threads, Numerics numerics)
    : device_(device),
      threads_(threads > 0 ? threads : omp_get_num_procs()),
      stream_(backend(device).make_stream(),  // throws where the device cannot be used
              [device](void* stream) { backend(device).destroy_stream(stream); }),
      numerics_(numerics),
      workspace_(device) {
    // Results depend on how many threads share a sum, so OpenMP must not choose fewer.
    if (threads_ > omp_get_thread_limit())
        fail_usage("{} threads are asked for, but OMP_THREAD_LIMIT allows {}", threads_,
                   omp_get_thread_limit());
    omp_set_dynamic(0);
    omp_set_num_threads(threads_);
}

}  // namespace qstep

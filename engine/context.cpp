#include "engine/context.h"

#include <omp.h>

#include "engine/backend.h"

namespace qstep {

Context::Context(Device device, int threads, Numerics numerics)
    : device_(device),
      threads_(threads > 0 ? threads : omp_get_num_procs()),
      numerics_(numerics),
      workspace_(device) {
    backend(device);  // throws where the device cannot be used
    omp_set_num_threads(threads_);
}

}  // namespace qstep

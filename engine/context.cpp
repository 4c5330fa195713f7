#include "engine/context.h"

#include <omp.h>

#include "engine/backend.h"

namespace qstep {

Context::Context(Device device, int threads, Numerics numerics)
    : device_(device),
      threads_(threads > 0 ? threads : omp_get_num_procs()),
      stream_(backend(device).make_stream(),  // throws where the device cannot be used
              [device](void* stream) { backend(device).destroy_stream(stream); }),
      numerics_(numerics),
      workspace_(device) {
    omp_set_num_threads(threads_);
}

}  // namespace qstep

// Stands in for engine/cuda/ where the build has no CUDA.
#include "engine/cuda/backend.h"
#include "engine/error.h"

namespace qstep::cuda {

Backend& cuda_backend(int) {
    fail_run("this build has no CUDA backend; use --device cpu");
}

int cuda_device_count() {
    return 0;
}

}  // namespace qstep::cuda

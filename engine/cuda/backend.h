// The CUDA Backends, one per GPU. engine/no_cuda/backend.cpp defines them in a build without CUDA.
#pragma once

#include "engine/backend.h"

namespace qstep::cuda {

/// Throws a run error where the build has no CUDA or the machine no such GPU.
Backend& cuda_backend(int index);
/// GPUs that can be used; 0 in a build without CUDA.
int cuda_device_count();

}  // namespace qstep::cuda

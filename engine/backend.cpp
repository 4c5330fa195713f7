#include "engine/backend.h"

#include "engine/cpu/backend.h"
#include "engine/cuda/backend.h"
#include "engine/error.h"

namespace qstep {

Backend& backend(Device device) {
    if (device.kind == DeviceKind::cuda) return cuda::cuda_backend(device.index);
    return cpu::cpu_backend();
}

int device_count(DeviceKind kind) {
    return kind == DeviceKind::cpu ? 1 : cuda::cuda_device_count();
}

}  // namespace qstep

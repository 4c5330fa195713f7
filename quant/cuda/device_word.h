// A single number in device memory.
#pragma once

#include "engine/backend.h"

namespace qstep::quant::cuda {

/// Eight bytes of device memory, not initialised.
class DeviceWord {
  public:
    explicit DeviceWord(Device device) : device_(device), address_(backend(device).allocate(8)) {}
    ~DeviceWord() { backend(device_).release(address_); }
    DeviceWord(const DeviceWord&) = delete;
    DeviceWord& operator=(const DeviceWord&) = delete;

    void* address() const { return address_; }

  private:
    Device device_;
    void* address_;
};

}  // namespace qstep::quant::cuda

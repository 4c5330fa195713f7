// What the parts of the emulated runtime share.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "emulation/launch.h"

struct CUgraph_st {
    std::vector<std::function<cudaError_t()>> nodes;
    std::vector<cudaStream_t> streams;  // that record into it
};
struct CUgraphExec_st {
    std::vector<std::function<cudaError_t()>> nodes;
};

namespace emulation {

/// One device operation at a time, whatever OS thread asks.
std::recursive_mutex& device_mutex();

/// Keeps device memory in reach while it lives.
class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess&) = delete;
    DeviceAccess& operator=(const DeviceAccess&) = delete;

  private:
    std::lock_guard<std::recursive_mutex> lock_;
};

/// Puts device memory out of reach of the kernel that is about to run, until show_device_memory().
void hide_device_memory(const std::string& kernel);
void show_device_memory();

/// Whether all of it lies in one allocation of device memory.
bool on_device(const void* address, std::size_t bytes);
/// Whether any device allocation holds the address.
bool is_device_address(const void* address);

/// Remembers what cudaGetErrorString says of a failed launch, and returns that error.
cudaError_t fail_launch(const std::string& what);
/// Where a call is refused because this thread captures a stream: the capture is spoilt. Else cudaSuccess.
cudaError_t refuse_while_capturing();
/// Remembers an error for cudaGetLastError.
cudaError_t remember(cudaError_t error);

/// A number from the environment.
int setting(const char* name, int otherwise);
int gpu_count();

}  // namespace emulation

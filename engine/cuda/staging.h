// Copies between pageable host memory and a device, through page-locked memory: in stream order, without
// waiting for kernels when copying in.
#pragma once

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <mutex>

namespace qstep::cuda {

/// A ring of page-locked blocks of one device, allocated on first use. Safe from any thread; the device must
/// be the caller's current one.
class Staging {
  public:
    Staging() = default;
    ~Staging();
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

    /// The host bytes may be reused on return.
    void copy_in(cudaStream_t stream, void* device_to, const void* host_from, std::size_t bytes);
    /// Returns when the bytes have arrived.
    void copy_out(cudaStream_t stream, void* host_to, const void* device_from, std::size_t bytes);

  private:
    static constexpr std::size_t kBlockBytes = 4 << 20;
    static constexpr std::size_t kBlocks = 4;
    struct Block {
        std::byte* memory = nullptr;
        cudaEvent_t done = nullptr;  // the last copy from or to it
    };

    /// The next block, no longer in use by an earlier copy.
    Block& take();

    std::mutex mutex_;
    std::array<Block, kBlocks> blocks_;
    std::size_t next_ = 0;
};

}  // namespace qstep::cuda

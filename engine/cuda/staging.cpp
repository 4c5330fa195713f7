#include "engine/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "engine/cuda/runtime.h"

namespace qstep::cuda {

Staging::~Staging() {
    // At the end of the program the runtime may already be gone; then there is nothing left to release.
    for (Block& block : blocks_) {
        if (block.done != nullptr) cudaEventDestroy(block.done);
        if (block.memory != nullptr) cudaFreeHost(block.memory);
    }
}

Staging::Block& Staging::take() {
    Block& block = blocks_[next_];
    next_ = (next_ + 1) % kBlocks;
    if (block.done == nullptr) {
        void* memory = nullptr;
        QSTEP_CUDA_CHECK(cudaMallocHost(&memory, kBlockBytes));
        block.memory = static_cast<std::byte*>(memory);
        QSTEP_CUDA_CHECK(cudaEventCreateWithFlags(&block.done, cudaEventDisableTiming));
    } else {
        QSTEP_CUDA_CHECK(cudaEventSynchronize(block.done));
    }
    return block;
}

void Staging::copy_in(cudaStream_t stream, void* device_to, const void* host_from, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (std::size_t begin = 0; begin < bytes; begin += kBlockBytes) {
        const std::size_t count = std::min(kBlockBytes, bytes - begin);
        Block& block = take();
        std::memcpy(block.memory, static_cast<const std::byte*>(host_from) + begin, count);
        QSTEP_CUDA_CHECK(cudaMemcpyAsync(static_cast<std::byte*>(device_to) + begin, block.memory, count,
                                         cudaMemcpyHostToDevice, stream));
        QSTEP_CUDA_CHECK(cudaEventRecord(block.done, stream));
    }
}

void Staging::copy_out(cudaStream_t stream, void* host_to, const void* device_from, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    for (std::size_t begin = 0; begin < bytes; begin += kBlockBytes) {
        const std::size_t count = std::min(kBlockBytes, bytes - begin);
        Block& block = take();
        QSTEP_CUDA_CHECK(cudaMemcpyAsync(block.memory, static_cast<const std::byte*>(device_from) + begin,
                                         count, cudaMemcpyDeviceToHost, stream));
        QSTEP_CUDA_CHECK(cudaEventRecord(block.done, stream));
        QSTEP_CUDA_CHECK(cudaEventSynchronize(block.done));
        std::memcpy(static_cast<std::byte*>(host_to) + begin, block.memory, count);
    }
}

}  // namespace qstep::cuda

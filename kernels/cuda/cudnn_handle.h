// The cuDNN handle of a context, checked calls, and descriptors of cuDNN's graph interface.
#pragma once

#include <cudnn.h>

#include <memory>
#include <span>
#include <string>

#include "engine/context.h"

namespace qstep::cuda {

/// Throws a run error with the call's text, cuDNN's own words and `about`, which says what was computed.
[[noreturn]] void fail_cudnn(cudnnStatus_t status, const char* call, const std::string& about);

/// Runs a cuDNN call; `about` is evaluated only when it fails.
#define QSTEP_CUDNN_CHECK(call, about)                                                       \
    do {                                                                                     \
        if (const cudnnStatus_t qstep_status = (call); qstep_status != CUDNN_STATUS_SUCCESS) \
            ::qstep::cuda::fail_cudnn(qstep_status, #call, about);                           \
    } while (false)

/// Owned by the plan cache of its context; plans share it, so that it outlives them.
class CudnnHandle : public std::enable_shared_from_this<CudnnHandle> {
  public:
    CudnnHandle();
    ~CudnnHandle();
    CudnnHandle(const CudnnHandle&) = delete;
    CudnnHandle& operator=(const CudnnHandle&) = delete;
    cudnnHandle_t get() const { return handle_; }

  private:
    cudnnHandle_t handle_ = nullptr;
};

/// The context's handle, made on first use, set to the context's stream.
CudnnHandle& cudnn_handle(const Context& context);

/// One backend descriptor. Setting an attribute throws where cuDNN refuses it.
class CudnnDescriptor {
  public:
    explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
    ~CudnnDescriptor();
    CudnnDescriptor(CudnnDescriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }

    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::int64_t count, const void* values);
    template <typename T>
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
        return set(name, type, 1, &value);
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
        return set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
        return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
    }
    /// Throws where cuDNN refuses the attributes together; `about` says what was described.
    CudnnDescriptor& finalize(const std::string& about);
    /// For descriptors that may be unsupported.
    cudnnStatus_t try_finalize() { return cudnnBackendFinalize(raw_); }

    cudnnBackendDescriptor_t raw() const { return raw_; }

  private:
    cudnnBackendDescriptor_t raw_ = nullptr;
};

}  // namespace qstep::cuda

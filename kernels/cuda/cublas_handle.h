// The cuBLASLt handle of a context, checked calls, and owners of its descriptors.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <string>

#include "engine/context.h"

namespace qstep::cuda {

/// Throws a run error with the call's text, cuBLAS's own words and `about`, which says what was computed.
[[noreturn]] void fail_cublas(cublasStatus_t status, const char* call, const std::string& about);

/// Runs a cuBLASLt call; `about` is evaluated only when it fails.
#define QSTEP_CUBLAS_CHECK(call, about)                                                        \
    do {                                                                                       \
        if (const cublasStatus_t qstep_status = (call); qstep_status != CUBLAS_STATUS_SUCCESS) \
            ::qstep::cuda::fail_cublas(qstep_status, #call, about);                            \
    } while (false)

/// Owned by the plan cache of its context.
class CublasHandle {
  public:
    CublasHandle();
    ~CublasHandle();
    CublasHandle(const CublasHandle&) = delete;
    CublasHandle& operator=(const CublasHandle&) = delete;
    cublasLtHandle_t get() const { return handle_; }

  private:
    cublasLtHandle_t handle_ = nullptr;
};

/// The context's handle, made on first use.
CublasHandle& cublas_handle(const Context& context);

template <typename Raw, cublasStatus_t (*destroy)(Raw)>
struct CublasDestroy {
    using pointer = Raw;
    void operator()(Raw raw) const { destroy(raw); }
};
template <typename Raw, cublasStatus_t (*destroy)(Raw)>
using CublasOwner = std::unique_ptr<Raw, CublasDestroy<Raw, destroy>>;

using MatmulDescriptor = CublasOwner<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = CublasOwner<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using MatmulPreference = CublasOwner<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

}  // namespace qstep::cuda

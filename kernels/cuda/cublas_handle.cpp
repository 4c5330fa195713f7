#include "kernels/cuda/cublas_handle.h"

#include "engine/cuda/runtime.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

struct HandleKey {
    std::int64_t device;
};

}  // namespace

void fail_cublas(cublasStatus_t status, const char* call, const std::string& about) {
    fail_run("cuBLASLt {} refused {}{}{}: {}, {}", cublasLtGetVersion(), call, about.empty() ? "" : " for ",
             about, cublasLtGetStatusName(status), cublasLtGetStatusString(status));
}

CublasHandle::CublasHandle() {
    QSTEP_CUBLAS_CHECK(cublasLtCreate(&handle_), "");
}

CublasHandle::~CublasHandle() {
    cublasLtDestroy(handle_);
}

CublasHandle& cublas_handle(const Context& context) {
    stream_of(context);  // a handle belongs to the device that is current when it is made
    return context.plans().get<CublasHandle>(HandleKey{context.device().index},
                                             [] { return std::make_shared<CublasHandle>(); });
}

}  // namespace qstep::cuda

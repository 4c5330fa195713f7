#include "kernels/cuda/cudnn_handle.h"

#include <array>

#include "engine/cuda/runtime.h"
#include "engine/error.h"

namespace qstep::cuda {

namespace {

struct HandleKey {
    std::int64_t device;
};

}  // namespace

void fail_cudnn(cudnnStatus_t status, const char* call, const std::string& about) {
    std::array<char, 1024> details{};
    cudnnGetLastErrorString(details.data(), details.size());
    fail_run("cuDNN {} refused {}{}{}: {}{}{}", cudnnGetVersion(), call, about.empty() ? "" : " for ", about,
             cudnnGetErrorString(status), details[0] != '\0' ? ": " : "", details.data());
}

CudnnHandle::CudnnHandle() {
    QSTEP_CUDNN_CHECK(cudnnCreate(&handle_), "");
}

CudnnHandle::~CudnnHandle() {
    cudnnDestroy(handle_);
}

CudnnHandle& cudnn_handle(const Context& context) {
    auto& handle = context.plans().get<CudnnHandle>(HandleKey{context.device().index},
                                                    [] { return std::make_shared<CudnnHandle>(); });
    QSTEP_CUDNN_CHECK(cudnnSetStream(handle.get(), stream_of(context)), "");
    return handle;
}

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
    QSTEP_CUDNN_CHECK(cudnnBackendCreateDescriptor(type, &raw_), "");
}

CudnnDescriptor::~CudnnDescriptor() {
    if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
}

CudnnDescriptor& CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                      std::int64_t count, const void* values) {
    QSTEP_CUDNN_CHECK(cudnnBackendSetAttribute(raw_, name, type, count, values),
                      fmt::format("attribute {}", static_cast<int>(name)));
    return *this;
}

CudnnDescriptor& CudnnDescriptor::finalize(const std::string& about) {
    QSTEP_CUDNN_CHECK(cudnnBackendFinalize(raw_), about);
    return *this;
}

}  // namespace qstep::cuda

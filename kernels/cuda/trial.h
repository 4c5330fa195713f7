// Device memory for as long as algorithms are tried out.
#pragma once

#include <algorithm>

#include "engine/backend.h"
#include "engine/cuda/runtime.h"
#include "engine/tensor.h"

namespace qstep::cuda {

/// Zeroed, in stream order.
class Trial {
  public:
    Trial(const Context& context, std::size_t bytes)
        : backend_(backend(context.device())),
          address_(backend_.allocate(std::max<std::size_t>(bytes, 1), context.workspace().usual_remedy())) {
        QSTEP_CUDA_CHECK(cudaMemsetAsync(address_, 0, std::max<std::size_t>(bytes, 1), stream_of(context)));
    }
    Trial(const Context& context, DType dtype, const Shape& shape)
        : Trial(context, static_cast<std::size_t>(shape.count()) * size_of(dtype)) {
        tensor_ = {address_, dtype, shape};
    }
    ~Trial() { backend_.release(address_); }
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;
    void* get() const { return address_; }
    /// Of the second constructor.
    const Tensor& tensor() const { return tensor_; }

  private:
    Backend& backend_;
    void* address_;
    Tensor tensor_;
};

}  // namespace qstep::cuda

#include "kernels/cuda/library_plans.h"

#include "engine/dtype.h"
#include "engine/error.h"

namespace qstep::cuda {

std::int64_t alignment_of(const void* address) {
    const auto bits =
        reinterpret_cast<std::uintptr_t>(address) | static_cast<std::uintptr_t>(kWidestAlignment);
    return static_cast<std::int64_t>(bits & (~bits + 1));
}

bool ConvProblem::in_bf16() const {
    return dtype == static_cast<std::int64_t>(DType::bf16);
}

std::string ConvProblem::to_string() const {
    const char* what = pass == ConvPass::forward         ? "forward pass"
                       : pass == ConvPass::backward_data ? "data gradient"
                                                         : "weight gradient";
    return fmt::format("{} {}{} of a convolution, x {}, w {}, stride {}, pad {}",
                       name_of(static_cast<DType>(dtype)), what, accumulate != 0 ? " (added)" : "",
                       shape.x().to_string(), shape.w().to_string(), shape.stride, shape.pad);
}

std::string MatmulProblem::to_string() const {
    return fmt::format("a matrix product {} [{},{}] * [{},{}] into {}{}",
                       name_of(static_cast<DType>(factors)), columns, inner, inner, rows,
                       name_of(static_cast<DType>(result)), bias != 0 ? " with bias" : "");
}

}  // namespace qstep::cuda

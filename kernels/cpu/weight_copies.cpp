// Nothing to copy: kernels of the CPU read master weights.
#include "kernels/weight_copies.h"

#include "kernels/on_device.h"

namespace qstep::cpu {

std::optional<WeightLayout> weight_layout(const Context&, WeightUse, const Shape&, DType) {
    return std::nullopt;
}

void make_weight_copies(Context&, std::span<const WeightCopy> copies) {
    QSTEP_CHECK(copies.empty(), "the CPU keeps no copies of weights");
}

void collect_weight_gradients(Context&, std::span<const WeightCopy> copies) {
    QSTEP_CHECK(copies.empty(), "the CPU keeps no copies of weights");
}

}  // namespace qstep::cpu

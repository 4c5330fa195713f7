#include "kernels/convert.h"

#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace qstep::cpu {

namespace {

template <typename To, typename From>
QSTEP_CLONES void convert_range(To* to, const From* from, std::int64_t count) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<To>(to_float(from[i]));
}

template <typename To, typename From>
void convert_all(Context& context, const Tensor& to, const Tensor& from) {
    auto* target = to.as<To>();
    const auto* source = from.as<From>();
    parallel_elements(context, to.count(), [=](std::int64_t begin, std::int64_t end) {
        convert_range(target + begin, source + begin, end - begin);
    });
}

void copy_all(Context& context, const Tensor& to, const Tensor& from) {
    auto* target = static_cast<std::byte*>(to.data);
    const auto* source = static_cast<const std::byte*>(from.data);
    const auto bytes = static_cast<std::int64_t>(to.bytes());
    parallel_ranges(context, bytes, Arena::kAlignment, 1, [=](std::int64_t begin, std::int64_t end) {
        std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
    });
}

}  // namespace

void convert(Context& context, const Tensor& to, const Tensor& from) {
    qstep::detail::check_conversion(to, from);
    if (to.dtype == from.dtype) {
        copy_all(context, to, from);
    } else if (to.dtype == DType::f32) {
        convert_all<float, bf16>(context, to, from);
    } else {
        convert_all<bf16, float>(context, to, from);
    }
}

}  // namespace qstep::cpu

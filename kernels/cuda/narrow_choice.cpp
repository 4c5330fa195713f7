#include "kernels/cuda/narrow_choice.h"

#include <cstdlib>
#include <optional>
#include <string_view>

#include "engine/cuda/capture.h"
#include "kernels/cuda/narrow_conv.h"

namespace qstep::cuda {

namespace {

// QSTEP_OWN_CONVOLUTIONS: 1 all that can be, 0 none, otherwise the faster ones.
std::optional<bool> forced_choice() {
    const char* const value = std::getenv("QSTEP_OWN_CONVOLUTIONS");
    const std::string_view wanted = value == nullptr ? "" : value;
    if (wanted == "0" || wanted == "1") return wanted == "1";
    return std::nullopt;
}

}  // namespace

NarrowChoice narrow_choice(const Context& context, const Conv2dShape& shape, DType dtype) {
    if (!is_narrow_conv(shape, dtype)) return {};
    struct Key {
        Conv2dShape shape;
        std::int64_t dtype;
    };
    return context.plans().get<NarrowChoice>(Key{shape, static_cast<std::int64_t>(dtype)}, [&] {
        if (const std::optional<bool> forced = forced_choice())
            return std::make_shared<NarrowChoice>(
                NarrowChoice{*forced, *forced && reads_a_layer(shape), *forced});
        if (context.numerics().deterministic)
            return std::make_shared<NarrowChoice>(NarrowChoice{true, reads_a_layer(shape), true});
        refuse_inside_capture(context, "chooses an algorithm for a convolution");
        return std::make_shared<NarrowChoice>(time_narrow_conv(context, shape, dtype));
    });
}

}  // namespace qstep::cuda

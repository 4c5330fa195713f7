// What a backward kernel does with the gradient it computes.
#pragma once

#include <cstdint>

namespace qstep {

/// Leave what is there alone, replace it, or add to it.
enum class GradMode : std::uint8_t { skip, overwrite, accumulate };

}  // namespace qstep

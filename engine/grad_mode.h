// What a backward kernel does with the gradient it computes.
#pragma once

#include <cstdint>

namespace qstep {

enum class GradMode : std::uint8_t { skip, overwrite, accumulate };

}  // namespace qstep

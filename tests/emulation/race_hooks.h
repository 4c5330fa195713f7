// What the compiler's calls before each access come to.
#pragma once

#include <cstddef>

#include "race_shadow.h"

namespace emulation::races {

/// An access of whatever runs; `place`: behind the instruction.
void note(const void* address, std::size_t bytes, Access kind, const void* place);

}  // namespace emulation::races

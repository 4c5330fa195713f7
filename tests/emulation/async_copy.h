// The emulation's own side of emulation/async_copy.h.
#pragma once

namespace emulation {

/// At the beginning of a block: none of its threads has copies under way.
void forget_copies(int threads, bool are_late);

}  // namespace emulation

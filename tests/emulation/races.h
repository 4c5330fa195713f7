// Watches what the threads of a kernel read and write, and finds pairs of accesses that no barrier or fence
// puts in order (race_order.h says what does). That does not depend on the order in which threads happen to
// run: one run finds all races among the accesses that were made.
//
// Only in builds with QSTEP_FIND_RACES, whose compiler calls race_hooks.cpp before each access
// (-fsanitize=thread; its own run-time library, which knows threads of the host, is not linked); others have
// no_races.cpp. Watched are
// device memory and shared memory, the block's own. Pairs of atomics are in order, as are a launch and what
// was enqueued before it.
#pragma once

#include <string>

namespace emulation::races {

void begin_launch();
/// blockIdx and blockDim are those of the block.
void begin_block();
/// From here on accesses are watched, those of the thread that threadIdx names.
void resume();
/// From here on accesses are those of the emulation.
void pause();

/// Of the thread that threadIdx names. To arrive is to pause, to pass is to go on.
void arrive_at_block_barrier();
void pass_block_barrier();
void pass_warp_collective(bool orders_memory);

/// The first race of the launch, in words, or "".
std::string found();

}  // namespace emulation::races

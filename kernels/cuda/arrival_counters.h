// Counters by which the last block of a launch knows that it is the last (device/reduce.cuh).
#pragma once

#include "engine/context.h"

namespace qstep::cuda {

/// How many a launch may use, one for each group of blocks that end together.
inline constexpr int kArrivalCounters = 1024;

/// The context's counters, in device memory; zero between launches, which is for the kernels to keep. Made on
/// first use, which must not lie in a captured step: functions that size a workspace ask for them.
int* arrival_counters(const Context& context);

}  // namespace qstep::cuda

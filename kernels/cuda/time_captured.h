// Device time of a sequence of launches, without the host's share.
#pragma once

#include <functional>
#include <optional>

#include "engine/cuda/runtime.h"

namespace qstep::cuda {

/// Milliseconds of device time of one `launches()`, the best of several; nothing where it returns false or
/// cannot be captured. It is run once eagerly, then recorded into a graph several times over, so that the
/// host's launch overhead, which a captured training step does not have either, stays out of the measurement.
/// The stream must be free of captures and not the default one.
std::optional<float> time_captured(cudaStream_t stream, const std::function<bool()>& launches);

}  // namespace qstep::cuda

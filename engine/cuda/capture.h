// A step recorded as a CUDA graph, or run eagerly.
#pragma once

#include <functional>
#include <memory>

#include "engine/backend.h"

namespace qstep::cuda {

/// As Backend::capture().
std::unique_ptr<CapturedStep> capture_step(Context& context, std::function<void(Context&)> step, int at_once);

/// Throws an internal error while the context's stream is being captured; `what` is what was tried.
void refuse_inside_capture(const Context& context, const char* what);

}  // namespace qstep::cuda

// A captured step that is no recording: every launch runs the function. The CPU's, and a GPU's without
// graphs.
#pragma once

#include <functional>
#include <utility>

#include "engine/backend.h"

namespace qstep {

/// Keeps the function, and the context by reference.
class EagerStep : public CapturedStep {
  public:
    /// The context must outlive the step.
    EagerStep(Context& context, std::function<void(Context&)> step)
        : context_(context), step_(std::move(step)) {}
    void launch(int times) override {
        for (int i = 0; i < times; ++i) step_(context_);
    }

  private:
    Context& context_;
    std::function<void(Context&)> step_;
};

}  // namespace qstep

// The end of a training step that the host does not wait for: its results are added up, a fault is kept for
// whoever looks later, and the place moves on to the next step. All of it is device data, so that captured
// steps follow each other without the host.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// The tensors of one call, all in device memory.
struct StepEnd {
    // What the step left, read.
    Tensor loss;      // f32 [1]
    Tensor variance;  // f64 [1], NaN where the gradient was not finite
    Tensor gradient;  // f32 [n]
    // What is kept over the steps.
    Tensor variance_sum;  // f64 [1], added to
    Tensor fault;         // i64 [2]: the first step with a fault and the first element of its gradient that
                          // is not finite; -1: none. Written where fault[0] is -1.
    Tensor fault_loss;    // f32 [1], of that step
    // The place, moved on.
    Tensor step, batch;    // i64 [1] each, 1 is added
    Tensor rates;          // f32 [batches of the epoch], read
    Tensor learning_rate;  // f32 [1], becomes rates[batch] of the next batch; stays after the last one
};

/// A fault is a loss that is not finite or a variance that is NaN. Deterministic; no aliasing. A tensor of
/// another type or shape is an internal error.
void end_step(Context& context, const StepEnd& end);

namespace detail {
/// Throws unless types and shapes are those above.
void check_step_end(const StepEnd& end);
}  // namespace detail

}  // namespace qstep

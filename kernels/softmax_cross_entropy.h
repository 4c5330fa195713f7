// Mean softmax cross-entropy over a batch, its gradient, and the count of right answers.
//   loss = 1/N * sum_n (log sum_k exp(logits[n,k]) - logits[n,labels[n]])
//   dlogits[n,k] = (softmax(logits[n])[k] - [k == labels[n]]) / N
// The largest logit is subtracted first; sums in double. logits, dlogits: [N,K] f32 or bf16; labels: [N] i32,
// each in [0,K) (checked by the data reader, not here). Deterministic, whatever the number of
// threads. A tensor of another type or shape is an internal error.
#pragma once

#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {

/// loss ([1] f32) is overwritten. metrics ([2] f64: sum of losses, right answers) is added to; a row counts
/// as right when its largest logit, the first of equals, is the label's (never, where it holds a NaN).
void softmax_cross_entropy_forward(Context& context, const Tensor& loss, const Tensor& metrics,
                                   const Tensor& logits, const Tensor& labels);
/// dlogits is overwritten; it may be logits.
void softmax_cross_entropy_backward(Context& context, const Tensor& dlogits, const Tensor& logits,
                                    const Tensor& labels);

}  // namespace qstep

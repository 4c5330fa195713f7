// ReLU, residual addition and dropout. f32 or bf16, elementwise; all tensors of a call have one type and
// shape (checked). Memory traffic is each input once and each output once. Deterministic, whatever the number
// of threads.
#pragma once

#include "engine/context.h"
#include "engine/grad_mode.h"
#include "engine/random.h"
#include "engine/tensor.h"

namespace qstep {

/// out = max(x, 0), NaN where x is; out may be x.
void relu_forward(Context& context, const Tensor& out, const Tensor& x);
/// dx (+)= dout * [out > 0]; with overwrite, dx may be dout.
void relu_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout, const Tensor& out);

/// out = a + b; out may be a or b.
void add_forward(Context& context, const Tensor& out, const Tensor& a, const Tensor& b);
/// to += from (accumulate) or to = from (overwrite). The gradient of an addition.
void add_backward(Context& context, const Tensor& to, GradMode mode, const Tensor& from);

/// What the random numbers of one dropout layer hang on: the run's seed and the step, i64 [1] each, read from
/// device memory when the kernel runs, and the layer's number in the network.
struct DropoutKey {
    Tensor seed;
    std::uint32_t layer = 0;
    Tensor step;
};
/// out = keep ? x * scale : 0 with scale = 1 / (1 - probability) in f32, where element e is kept when its
/// draw uniform(e) >= probability; the draw is RandomStream{seed + layer * 2^32, Purpose::dropout, step}. The
/// mask is not stored: backward draws it again. Throws unless 0 <= probability < 1. out may be x.
void dropout_forward(Context& context, const Tensor& out, const Tensor& x, float probability,
                     const DropoutKey& key);
/// dx (+)= keep ? dout * scale : 0; with overwrite, dx may be dout.
void dropout_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout,
                      float probability, const DropoutKey& key);

namespace detail {

/// Throws unless types and shapes are those above.
inline void check_dropout(const Tensor& to, const Tensor& from, float probability, const DropoutKey& key) {
    check_tensor(to, "dropout's result", from.dtype, from.shape);
    QSTEP_CHECK(probability >= 0.0f && probability < 1.0f, "dropout probability {} is not in [0, 1)",
                probability);
    check_tensor(key.seed, "seed", DType::i64, {1});
    check_tensor(key.step, "step", DType::i64, {1});
}

}  // namespace detail

}  // namespace qstep

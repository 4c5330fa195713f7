// Layers without a convolution: ReLU, pooling, dropout, flattening, linear, loss. Each records one node.
// Tensors are f32 or bf16; the kernels check types and shapes when the node runs.
#pragma once

#include <string>

#include "engine/tape.h"
#include "layers/model.h"
#include "layers/parameters.h"

namespace qstep {

/// max(x, 0).
Value* build_relu(Tape& tape, Value* x);
/// a + b, of one shape and type.
Value* build_add(Tape& tape, Value* a, Value* b);
/// Windows of kernel x kernel, `stride` apart: [N,H,W,C] -> [N,P,Q,C].
Value* build_max_pool(Tape& tape, Value* x, std::int64_t kernel, std::int64_t stride);
/// The same with the mean for the maximum.
Value* build_average_pool(Tape& tape, Value* x, std::int64_t kernel, std::int64_t stride);
/// [N,H,W,C] -> [N,C*H*W] in PyTorch's order (channel first).
Value* build_flatten(Tape& tape, Value* x);
/// Zeroes elements with `probability` and scales the rest; `layer` tells one dropout of a network from
/// another. The input itself on evaluation tapes and where the source is not enabled.
Value* build_dropout(Tape& tape, Value* x, float probability, std::uint32_t layer,
                     const DropoutSource& source);
/// Mean softmax cross-entropy, f32 [1]; adds the sum of losses and the right answers to `metrics` (f64 [2]).
/// logits [N,K], labels i32 [N].
Value* build_loss(Tape& tape, Value* logits, Value* labels, const Tensor& metrics);

/// y = x w^T + bias: [N,I] -> [N,O].
class Linear {
  public:
    /// Parameters `name`.weight [O,I] and `name`.bias [O].
    Linear(ParameterStore& store, const std::string& name, std::int64_t in_features,
           std::int64_t out_features, Init weight, Init bias);
    /// The same with PyTorch's default initialisation.
    Linear(ParameterStore& store, const std::string& name, std::int64_t in_features,
           std::int64_t out_features);
    /// x: [N,...] with in_features elements a row, f32 or bf16; the result has its type.
    Value* build(Tape& tape, Value* x) const;

  private:
    const ParameterStore* store_;
    std::int64_t in_features_, out_features_;
    int weight_, bias_;
};

}  // namespace qstep

// The batch-norm layer. Activations are [N,H,W,C].
#pragma once

#include <string>

#include "engine/tape.h"
#include "kernels/batch_norm.h"
#include "layers/parameters.h"

namespace qstep {

/// The layer of kernels/batch_norm.h: [N,H,W,C], parameters and running statistics in a ParameterStore.
class BatchNorm2d {
  public:
    /// Parameters `name`.weight (gamma, starting at `gamma`) and `name`.bias (0), buffers `name`.running_mean
    /// (0) and `name`.running_var (1). eps 1e-5, momentum 0.1.
    BatchNorm2d(ParameterStore& store, const std::string& name, std::int64_t channels, double gamma);

    /// bn(y), then + residual where it is not null, then ReLU where `relu`.
    /// The residual must not be y.
    Value* build(Tape& tape, Value* y, Value* residual, bool relu) const;

    const ParameterStore::Parameter& gamma() const;
    const ParameterStore::Parameter& beta() const;
    /// Views of the learned and tracked values.
    BatchNormParameters tensors() const;

  private:
    const ParameterStore* store_;
    int gamma_, beta_, mean_, var_;
};

}  // namespace qstep

// The convolution layer, alone and joined with a batch norm. A layer declares its parameters when it is made
// and records its operations on a tape; tensors are [N,H,W,C].
#pragma once

#include <memory>
#include <string>

#include "engine/tape.h"
#include "layers/batch_norm.h"
#include "layers/parameters.h"

namespace qstep {

/// The layer of kernels/conv2d.h: [N,H,W,I] -> [N,P,Q,O].
class Conv2d {
  public:
    /// Square windows, the same stride and padding along both axes, in pixels.
    struct Geometry {
        std::int64_t in_channels, out_channels, kernel, stride, pad;
    };
    /// Without bias. Parameter: `name`.weight [O,I,K,K].
    Conv2d(ParameterStore& store, const std::string& name, const Geometry& geometry, Init weight);
    /// With bias. Parameters: `name`.weight, `name`.bias [O].
    Conv2d(ParameterStore& store, const std::string& name, const Geometry& geometry, Init weight, Init bias);

    /// y = conv(x) [+ bias]. An internal error for an x without four extents or with other channels.
    Value* build(Tape& tape, Value* x) const;

    const Geometry& geometry() const { return geometry_; }
    const ParameterStore::Parameter& weight() const {
        return store_->parameters()[static_cast<std::size_t>(weight_)];
    }

  private:
    const ParameterStore* store_;
    Geometry geometry_;
    int weight_;
    int bias_ = -1;
};

/// A value, and where build_conv_bn() made it the node behind it: another convolution that is built on it
/// with batch norm, as its first reader, has it normalised while it is read, which saves a pass over memory.
/// (The loss must depend on that reader: backward, the gradient's first half is left to it too.)
class ConvBnValue {
  public:
    /// Of any layer.
    ConvBnValue(Value* value) : value_(value) {}
    operator Value*() const { return value_; }

  private:
    friend ConvBnValue build_conv_bn(Tape& tape, const Conv2d& conv, const BatchNorm2d& bn,
                                     const ConvBnValue& x, Value* residual, bool relu);
    Value* value_;
    std::shared_ptr<struct ConvBnNode> node_;
};

/// bn(conv(x)), then + residual where it is not null, then ReLU where `relu`: one node, so that kernels can
/// share passes over memory. The convolution must have no bias, and the residual must not be x.
ConvBnValue build_conv_bn(Tape& tape, const Conv2d& conv, const BatchNorm2d& bn, const ConvBnValue& x,
                          Value* residual, bool relu);

}  // namespace qstep

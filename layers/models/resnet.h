// ResNet for CIFAR (He et al., "Deep Residual Learning", 2016, section 4.2), as the smart-quantizer harness
// has it.
#pragma once

#include <memory>

#include "layers/model.h"

namespace qstep {

/// Depth 6n+2: a 3x3 convolution, three stages of n basic blocks with 16, 32 and 64 channels at 32x32, 16x16
/// and 8x8, global average pool, linear 64 -> 10. Shortcuts that change shape are a 1x1 convolution with
/// batch norm. Start: convolutions N(0, sqrt(2 / (k^2 C_out))), the second gamma of each block 0, linear
/// weight N(0, 0.01), bias 0. resnet_20 has 272,474 parameters. Throws a usage error unless depth is 6n+2
/// with n >= 1 and below 1,003.
std::unique_ptr<Model> make_resnet(int depth, ParameterStore& store);

}  // namespace qstep

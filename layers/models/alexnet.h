// AlexNet for 32x32 images, as the smart-quantizer harness has it.
#pragma once

#include <memory>

#include "layers/model.h"

namespace qstep {

/// features: conv 3->64 k3 s2 p1, pool 2, 64->192, pool 2, 192->384, 384->256, 256->256 (k3 p1), pool 2, a
/// ReLU after each convolution; classifier: dropout, 1024->4096, ReLU, dropout, 4096->4096, ReLU, 4096->10.
/// 23,272,266 parameters, PyTorch's default initialisation.
std::unique_ptr<Model> make_alexnet(ParameterStore& store);

}  // namespace qstep

// The small LeNet-like network of the smart-quantizer harness.
#pragma once

#include <memory>

#include "layers/model.h"

namespace qstep {

/// conv 3->6 k5, pool 2, conv 6->16 k5, pool 2, linear 400->120->84->10, ReLU between. 62,006 parameters,
/// PyTorch's default initialisation.
std::unique_ptr<Model> make_simple(ParameterStore& store);

}  // namespace qstep

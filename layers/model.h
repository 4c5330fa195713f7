// A model: layers that know their parameters and can record themselves on a tape for any batch size.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tape.h"
#include "layers/parameters.h"

namespace qstep {

/// What changes from step to step, in device memory, so that a recorded step reads it when it runs.
struct StepState {
    Tensor learning_rate;  // f32 [1]
    Tensor step;           // i64 [1], number of the step, from 0
    Tensor seed;           // i64 [1], of the run
};

/// What dropout draws from.
struct DropoutSource {
    Tensor seed, step;    // StepState's
    bool enabled = true;  // false: dropout passes its input through, for comparisons with other engines
};

/// A structure without activations: its parameters are in the store it was made with.
class Model {
  public:
    virtual ~Model() = default;
    /// images: [N,32,32,3] f32 or bf16; returns the logits [N,10], same type.
    virtual Value* build(Tape& tape, Value* images, const DropoutSource& dropout) const = 0;
};

/// Declares the model's parameters in `store` and returns it. Names: "resnet_N" with N = 6n+2, "alexnet",
/// "simple". Throws a usage error that names the nearest valid name otherwise.
std::unique_ptr<Model> make_model(std::string_view name, ParameterStore& store);
/// "resnet_20", "alexnet", "simple": what help texts list.
std::vector<std::string> model_names();

}  // namespace qstep

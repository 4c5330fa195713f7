// Parameters of a few elements, so that a checkpoint of them is small.
#pragma once

#include "engine/arena.h"
#include "layers/parameters.h"

namespace qstep::test {

struct SmallModel {
    SmallModel() : memory(Device{}, "small model") {
        parameters.add_parameter("weight", {2, 3}, Init::normal(1.0));
        parameters.add_parameter("bias", {3}, Init::constant(0.5));
        parameters.add_buffer("mean", {2}, 1.0);
        parameters.keep_residual();
        parameters.allocate(context, memory, DType::f32);
        memory.commit();
        parameters.allocate(context, memory, DType::f32);
        parameters.initialize(context, 1);
    }

    Context context{Device{}, 1};
    Arena memory;
    ParameterStore parameters;
};

}  // namespace qstep::test

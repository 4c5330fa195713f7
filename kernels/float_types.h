// From an activation's run-time element type to code for it.
#pragma once

#include "engine/tensor.h"

namespace qstep {

/// Calls body(float{}) or body(bf16{}). Throws on any other type; `what` names the tensor.
template <typename Body>
void with_float_type(DType dtype, const char* what, const Body& body) {
    if (dtype == DType::f32) {
        body(float{});
    } else {
        QSTEP_CHECK(dtype == DType::bf16, "{} holds {}, it must hold f32 or bf16", what, name_of(dtype));
        body(bf16{});
    }
}

}  // namespace qstep

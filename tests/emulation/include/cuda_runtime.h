// Stands in for the CUDA runtime where kernels are compiled as C++ and run on the CPU, for tests on machines
// without a GPU. Exactly what this project uses is here; what is not here does not compile. Semantics beyond
// the names: emulation/language.h for kernels, emulation/api.h for the host.
#pragma once

#include "emulation/language.h"

#include "emulation/api.h"
#include "emulation/async_copy.h"
#include "emulation/launch.h"
#include "emulation/matrix_unit.h"

// The CPU's Backend; the registry in engine/backend.cpp hands it out.
#pragma once

#include "engine/backend.h"

namespace qstep::cpu {

Backend& cpu_backend();

}  // namespace qstep::cpu

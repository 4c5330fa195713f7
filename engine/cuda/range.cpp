#include "engine/range.h"

#include <nvtx3/nvToolsExt.h>

namespace qstep {

Range::Range(const std::string& name) {
    nvtxRangePushA(name.c_str());
}

Range::~Range() {
    nvtxRangePop();
}

}  // namespace qstep

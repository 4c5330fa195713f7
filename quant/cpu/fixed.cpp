#include "quant/fixed.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Fixed)

}  // namespace qstep::quant::cpu

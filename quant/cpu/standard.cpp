#include "quant/standard.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Standard)

}  // namespace qstep::quant::cpu

#include "quant/sign.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Sign)

}  // namespace qstep::quant::cpu

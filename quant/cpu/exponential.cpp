#include "quant/exponential.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Exponential)

}  // namespace qstep::quant::cpu

#include "quant/dorefa.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Dorefa)

}  // namespace qstep::quant::cpu

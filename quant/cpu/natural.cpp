#include "quant/natural.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(Natural)

}  // namespace qstep::quant::cpu

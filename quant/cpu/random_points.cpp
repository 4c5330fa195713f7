#include "quant/random_points.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(RandomPoints)

}  // namespace qstep::quant::cpu

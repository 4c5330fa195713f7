#include "quant/qsgd.h"

#include "quant/cpu/formula_codec.h"

namespace qstep::quant::cpu {

QSTEP_FORMULA_CODEC(QsgdEuclidean)
QSTEP_FORMULA_CODEC(QsgdMax)

}  // namespace qstep::quant::cpu

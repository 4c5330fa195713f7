#include "quant/exponential.h"

#include "quant/cuda/bucket_codec.cuh"

namespace qstep::quant::cuda {

template std::unique_ptr<GradientCodec> make_formula<Exponential>(Context&, const CodecSettings&,
                                                                  std::int64_t);

}  // namespace qstep::quant::cuda

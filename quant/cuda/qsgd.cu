#include "quant/qsgd.h"

#include "quant/cuda/bucket_codec.cuh"

namespace qstep::quant::cuda {

template std::unique_ptr<GradientCodec> make_formula<QsgdEuclidean>(Context&, const CodecSettings&,
                                                                    std::int64_t);
template std::unique_ptr<GradientCodec> make_formula<QsgdMax>(Context&, const CodecSettings&, std::int64_t);

}  // namespace qstep::quant::cuda

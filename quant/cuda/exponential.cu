#include "quant/exponential.h"

#include "quant/cuda/bucket_codec.cuh"
#include "quant/cuda/codecs.h"

namespace qstep::quant::cuda {

std::unique_ptr<GradientCodec> make_exponential(Context& context, const CodecSettings& settings,
                                                std::int64_t count) {
    return std::make_unique<BucketCodec<Exponential>>(context, settings, count);
}

}  // namespace qstep::quant::cuda

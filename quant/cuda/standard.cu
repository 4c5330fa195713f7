#include "quant/standard.h"

#include "quant/cuda/bucket_codec.cuh"
#include "quant/cuda/codecs.h"

namespace qstep::quant::cuda {

std::unique_ptr<GradientCodec> make_standard(Context& context, const CodecSettings& settings,
                                             std::int64_t count) {
    return std::make_unique<BucketCodec<Standard>>(context, settings, count);
}

}  // namespace qstep::quant::cuda

#include "quant/exponential.h"

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::quant::cpu {

namespace {

using Algorithm = Exponential;
QSTEP_BUCKET_KERNELS()

}  // namespace

std::unique_ptr<GradientCodec> make_exponential(Context& context, const CodecSettings& settings,
                                                std::int64_t count, Isa isa) {
    return std::make_unique<BucketCodec<Exponential>>(context, settings, count, kernels_for(isa), nullptr, 0);
}

}  // namespace qstep::quant::cpu

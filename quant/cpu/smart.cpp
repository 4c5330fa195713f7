#include "quant/smart.h"

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"
#include "quant/histogram.h"

namespace qstep::quant::cpu {

namespace {

namespace sorted {
using Algorithm = Smart;
QSTEP_BUCKET_KERNELS()
}  // namespace sorted

namespace counted {
using Algorithm = SmartHistogram;
QSTEP_BUCKET_KERNELS()
}  // namespace counted

}  // namespace

std::unique_ptr<GradientCodec> make_smart(Context& context, const CodecSettings& settings, std::int64_t count,
                                          Isa isa) {
    if (settings.solver == Solver::histogram)
        return std::make_unique<BucketCodec<SmartHistogram>>(context, settings, count,
                                                             counted::kernels_for(isa), nullptr,
                                                             SmartHistogram::scratch_bytes(settings.levels));
    const auto candidate_count = Smart::candidates_of(settings.solver);
    const Buckets buckets(count, settings.bucket_size);
    const std::int64_t candidates = candidate_count(buckets.size, settings.smart_candidates_percent);
    const std::int64_t scratch = Smart::scratch_bytes(candidates, settings.levels);
    check_smart_scratch(scratch, candidates, settings);
    return std::make_unique<BucketCodec<Smart>>(context, settings, count, sorted::kernels_for(isa),
                                                candidate_count, scratch);
}

}  // namespace qstep::quant::cpu

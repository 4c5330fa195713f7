#include "quant/smart.h"

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"
#include "quant/cpu/few_points.h"
#include "quant/histogram.h"

namespace qstep::quant::cpu {

namespace {

/// Both solvers round alike.
#define QSTEP_ROUND_TO_POINTS_VARIANT(isa, attributes)                                               \
    attributes double round_##isa(const Smart::Fit& fit, float* out, const float* x, std::int64_t n, \
                                  const Draws& draws, bool past_caches) {                            \
        SimdGroupOf<Isa::isa> group;                                                                 \
        if constexpr (Isa::isa == Isa::avx512 && kAvx512Written)                                     \
            if (fit.finite && fit.count <= Smart::kFewLevels)                                        \
                return round_to_few_points(group, fit, out, x, n, draws, past_caches);               \
        return round_chunk<Smart>(group, fit, out, x, n, draws, past_caches);                        \
    }
QSTEP_FOR_EACH_ISA(QSTEP_ROUND_TO_POINTS_VARIANT)

namespace sorted {
using Algorithm = Smart;
QSTEP_BUCKET_KERNELS_BUT_ROUNDING()
}  // namespace sorted

namespace counted {
using Algorithm = SmartHistogram;
QSTEP_BUCKET_KERNELS_BUT_ROUNDING()
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

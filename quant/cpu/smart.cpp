#include "quant/smart.h"

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::quant::cpu {

namespace {

using Algorithm = Smart;
QSTEP_BUCKET_KERNELS()

}  // namespace

std::unique_ptr<GradientCodec> make_smart(Context& context, const CodecSettings& settings, std::int64_t count,
                                          Isa isa) {
    const Buckets buckets(count, settings.bucket_size);
    const std::int64_t candidates = Smart::candidate_count(buckets.size, settings.smart_candidates_percent);
    const std::int64_t scratch = Smart::scratch_bytes(candidates, settings.levels);
    constexpr std::int64_t kMostScratch = std::int64_t{1} << 31;
    if (scratch > kMostScratch)
        fail_usage(
            "smart would look at {} candidates for {} levels, which takes {:.1f} GiB; lower "
            "--smart-candidates, "
            "--levels or --bucket-size",
            candidates, settings.levels, static_cast<double>(scratch) / (1 << 30));
    return std::make_unique<BucketCodec<Smart>>(context, settings, count, kernels_for(isa),
                                                Smart::candidate_count, scratch);
}

}  // namespace qstep::quant::cpu

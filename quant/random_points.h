// `standard` with --points random: k levels of which the bucket's min and max are two, and the others are
// drawn uniformly between them, anew for every bucket and step; rounding as in quant/smart.h, which is
// unbiased for any points. On elements spread evenly the variance is 6 (k-1)^2 / (k (k+1)) times that of even
// points, in the mean over the draws, 5 times for k = 16: what placing them evenly is worth.
//
// Draw i of bucket b is word b k + i of RandomStream{seed, Purpose::points, step}.
#pragma once

#include "quant/smart.h"

namespace qstep::quant {

struct RandomPoints : Smart {
    /// No scratch, but k^2 comparisons a bucket: each point looks up how many others are below it.
    template <typename Group>
    static QSTEP_HOST_DEVICE void fit(Group& group, Fit& fit, const Extent& extent, const float*,
                                      std::int64_t, const FitContext& context) {
        if (!extent.finite) {
            if (group.rank() == 0) fit.finite = false;
            return;
        }
        const std::int64_t levels = context.parameters.levels, inner = levels - 2;
        const RandomStream stream{context.seed, Purpose::points, context.step};
        const auto first = static_cast<std::uint64_t>(context.bucket * levels);
        const double low = extent.low, range = static_cast<double>(extent.high) - low;
        float *points = fit.points, *drawn = fit.search;
        group.for_each(inner, [=](std::int64_t i) {
            const double share = wide_uniform(stream.bits(first + static_cast<std::uint64_t>(i)));
            drawn[i] = static_cast<float>(low + range * share);
        });
        group.barrier();
        group.for_each(inner, [=](std::int64_t i) {
            std::int64_t place = 1;
            for (std::int64_t j = 0; j < inner; ++j)
                place += drawn[j] < drawn[i] || (drawn[j] == drawn[i] && j < i) ? 1 : 0;
            points[place] = drawn[i];
        });
        group.barrier();
        if (group.rank() == 0) {
            points[0] = extent.low;
            points[levels - 1] = extent.high;
        }
        write_points(group, fit, levels, [=](std::int64_t i) { return points[i]; });
    }
};

}  // namespace qstep::quant

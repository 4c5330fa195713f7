// What gradient_variance writes: a line a step, and averages beside the published ones.
#pragma once

#include <string>
#include <vector>

#include "apps/gradient_variance/options.h"

namespace qstep {

/// One step's gradient, before the codecs.
struct MeasuredStep {
    double loss = 0.0;
    double squared_norm = 0.0;      // sum of x^2
    std::vector<double> variances;  // of each codec
};

struct VarianceStudy {
    std::vector<StudiedCodec> codecs;
    std::vector<MeasuredStep> steps;  // at least one
};

/// A header and a line a step: its number from 1, the training loss, |g|^2, then the codecs' variances.
/// Numbers have all their digits, so the same run gives the same bytes.
std::string variance_csv(const VarianceStudy& study);

/// A header and a line a codec: its name, its mean variance over the steps, and what is published for it, or
/// nothing.
std::string averages_csv(const VarianceStudy& study);

/// A table in Markdown: mean variance over the steps, its share of the mean |g|^2 and of the mean variance of
/// the codec called "standard", and what is published (mean, share of standard's). "-" where there is nothing
/// to say.
std::string variance_table(const VarianceStudy& study);

}  // namespace qstep

// The command line of gradient_variance.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/options.h"

namespace qstep {

/// A codec of the study.
struct StudiedCodec {
    std::string label;  // what tables and plots call it
    CodecSettings settings;
    /// Mean variance in the README of smart-quantizer: bucket size 51200, 16 levels, the first 200 steps of
    /// the original training.
    std::optional<double> published = {};
};

struct VarianceOptions {
    Options run;  // of the training, which quantizes nothing
    std::int64_t steps = 200;
    std::vector<StudiedCodec> codecs;
    /// Not empty: print this and stop.
    std::string help;
};

/// Throws a usage error of one sentence for whatever makes no sense.
VarianceOptions parse_variance_options(const std::vector<std::string>& arguments);

}  // namespace qstep

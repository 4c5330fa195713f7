// The command line of quantize.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/codec.h"

namespace qstep {

struct QuantizeOptions {
    std::string input, output;  // no input with `decode`
    CodecSettings codec;
    bool steps_along_first_axis = false;
    std::string device = "auto";
    std::int64_t threads = 0;  // 0: all
    std::string codes;         // file for the stream; empty: none
    bool entropy_coding = false;
    std::string json;    // file; empty: none
    std::string decode;  // the stream to decode instead; empty: quantize
    /// Not empty: print this and stop.
    std::string help;
};

/// Throws a usage error of one sentence for whatever makes no sense, also for an output file that is the
/// input or another output.
QuantizeOptions parse_quantize_options(const std::vector<std::string>& arguments);

}  // namespace qstep

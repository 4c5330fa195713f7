// The numbers that an algorithm needs besides the bucket; what a stream says about how it was made.
#pragma once

#include <cstdint>

namespace qstep {
struct CodecSettings;
}

namespace qstep::quant {

struct Parameters {
    /// How many codes there are, 2 to 65,536: an element's code is one of 0 .. levels - 1, in as many bits as
    /// levels - 1 has.
    std::int64_t levels = 0;
    /// One more number, for algorithms that need it to fit or to decode; 0 for the others.
    std::int64_t extra = 0;

    bool operator==(const Parameters&) const = default;
};

/// levels: settings.levels, but for codecs that have a number of codes of their own; 0 for `none`.
Parameters parameters_of(const CodecSettings& settings);

/// Whether nothing is drawn for an element: rounding to nearest, and `sign`, which does not look.
bool rounds_to_nearest(const CodecSettings& settings);

}  // namespace qstep::quant

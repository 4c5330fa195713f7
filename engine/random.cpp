#include "engine/random.h"

#include <cmath>
#include <numbers>

namespace qstep {

template <>
double RandomStream::normal(std::uint64_t element) const {
    const Draw4 draw = block(element >> 1);
    const int first = static_cast<int>(element & 1) * 2;
    // (word + 0.5) / 2^32 lies strictly inside (0, 1), so the logarithm is finite.
    const double u = (draw.word[first] + 0.5) * 0x1p-32;
    const double v = (draw.word[first + 1] + 0.5) * 0x1p-32;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace qstep

// The ten outlines that the classes of the synthetic set are made of, as implicit functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "data/dataset.h"

namespace qstep {

/// disc, ring, triangle, square, plus, star, crescent, heart, arrow, bow tie.
std::string_view synthetic_class_name(std::int64_t class_index);

/// How an outline lies in the image, in pixels: image point (x, y) is outline point
/// (u, v) = (m[0] * (x - x0) + m[1] * (y - y0), m[2] * (x - x0) + m[3] * (y - y0)).
struct Placement {
    float x0, y0;
    float m[4];
    /// Pixels per unit of u and v, for the width of the soft edge.
    float scale;
};

/// coverage: [32,32], overwritten: 1 inside the outline, 0 outside, a ramp about one pixel wide between. All
/// outlines have the area pi/4 in units of (u, v) and their centre of mass near the origin, so that neither
/// the number of pixels nor their place tells the classes apart.
void draw_outline(float* coverage, std::int64_t class_index, const Placement& placement);

}  // namespace qstep

#include "data/synthetic_shapes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/error.h"

namespace qstep {
namespace {

// Each outline is a function of (u, v), negative inside, about the distance to the edge outside and inside.
// Union is min, intersection max, complement the negative.

float box(float u, float v, float half_u, float half_v) {
    return std::max(std::abs(u) - half_u, std::abs(v) - half_v);
}

float circle(float u, float v, float radius) {
    return std::sqrt(u * u + v * v) - radius;
}

/// Equilateral, one corner at (0, 2 * inner_radius).
float triangle_up(float u, float v, float inner_radius) {
    return std::max(0.8660254f * std::abs(u) + 0.5f * v, -v) - inner_radius;
}

float disc(float u, float v) {
    return circle(u, v, 0.5f);
}

float ring(float u, float v) {
    return std::abs(std::sqrt(u * u + v * v) - 0.46f) - 0.136f;
}

float triangle(float u, float v) {
    return triangle_up(u, v, 0.3888f);
}

float square(float u, float v) {
    return box(u, v, 0.4431f, 0.4431f);
}

float plus(float u, float v) {
    return std::min(box(u, v, 0.60f, 0.1954f), box(u, v, 0.1954f, 0.60f));
}

/// A pentagram: the points on the inner side of at least four of five lines.
float star(float u, float v) {
    constexpr std::array<float, 5> kNormalU = {0.0f, 0.9510565f, 0.5877853f, -0.5877853f, -0.9510565f};
    constexpr std::array<float, 5> kNormalV = {-1.0f, -0.3090170f, 0.8090170f, 0.8090170f, -0.3090170f};
    float largest = -1e9f, second = -1e9f;
    for (std::size_t i = 0; i < 5; ++i) {
        const float d = kNormalU[i] * u + kNormalV[i] * v;
        second = std::max(second, std::min(largest, d));
        largest = std::max(largest, d);
    }
    return second - 0.2584f;
}

float crescent(float u, float v) {
    return std::max(circle(u - 0.2401f, v, 0.6836f), -circle(u - 0.5893f, v, 0.5129f));
}

/// A square on its corner and a disc on each of its upper edges.
float heart(float u, float v) {
    constexpr float kHalf = 0.3317f, kLobe = 0.70710678f * kHalf, kCentreOfMass = 0.147f;
    v += kCentreOfMass;
    const float a = 0.70710678f * (u + v), b = 0.70710678f * (v - u);
    const float lobes = circle(std::abs(u) - kLobe, v - kLobe, kHalf);
    return std::min(box(a, b, kHalf, kHalf), lobes);
}

float arrow(float u, float v) {
    return std::min(triangle_up(u, v - 0.2137f, 0.3241f), box(u, v + 0.4709f, 0.1577f, 0.3935f));
}

/// Two triangles tip to tip.
float bow_tie(float u, float v) {
    return std::max(std::abs(u) - 0.56f, 0.7071f * (std::abs(v) - 0.07f - std::abs(u)));
}

template <typename Outline>
void draw(float* coverage, const Placement& placement, Outline&& outline) {
    constexpr int kSide = kImageSide;
    const float* m = placement.m;
    for (int y = 0; y < kSide; ++y) {
        for (int x = 0; x < kSide; ++x) {
            const float dx = static_cast<float>(x) - placement.x0, dy = static_cast<float>(y) - placement.y0;
            const float d = outline(m[0] * dx + m[1] * dy, m[2] * dx + m[3] * dy);
            coverage[y * kSide + x] = std::min(1.0f, std::max(0.0f, 0.5f - d * placement.scale));
        }
    }
}

struct OutlineEntry {
    std::string_view name;
    void (*draw)(float* coverage, const Placement& placement);
};

// A captureless wrapper for each outline, so that each gets a pixel loop of its own with the function
// inlined.
template <float (*outline)(float, float)>
void draw_with(float* coverage, const Placement& placement) {
    draw(coverage, placement, [](float u, float v) { return outline(u, v); });
}

constexpr std::array<OutlineEntry, kClassCount> kOutlines = {{
    {"disc", draw_with<disc>},
    {"ring", draw_with<ring>},
    {"triangle", draw_with<triangle>},
    {"square", draw_with<square>},
    {"plus", draw_with<plus>},
    {"star", draw_with<star>},
    {"crescent", draw_with<crescent>},
    {"heart", draw_with<heart>},
    {"arrow", draw_with<arrow>},
    {"bow tie", draw_with<bow_tie>},
}};

const OutlineEntry& entry(std::int64_t class_index) {
    QSTEP_CHECK(class_index >= 0 && class_index < kClassCount, "class {}", class_index);
    return kOutlines[static_cast<std::size_t>(class_index)];
}

}  // namespace

std::string_view synthetic_class_name(std::int64_t class_index) {
    return entry(class_index).name;
}

void draw_outline(float* coverage, std::int64_t class_index, const Placement& placement) {
    entry(class_index).draw(coverage, placement);
}

}  // namespace qstep

#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/synthetic_shapes.h"
#include "engine/error.h"
#include "engine/random.h"

namespace qstep {
namespace {

constexpr int kSide = kImageSide;
constexpr int kPixels = kSide * kSide;
constexpr float kMiddle = 0.5f * (kSide - 1);
constexpr std::uint64_t kBlocksPerImage = 256;
constexpr std::uint64_t kFirstNoiseBlock = 64;
constexpr std::uint64_t kNoiseBlocks = kImageBytes / 16;
static_assert(kFirstNoiseBlock + kNoiseBlocks <= kBlocksPerImage);
constexpr float kTurn = 6.2831853f;

using Colour = std::array<float, 3>;

/// The draws of one image that decide what is in it, one after the other.
class Draws {
  public:
    Draws(const RandomStream& stream, std::uint64_t first_block)
        : stream_(stream), next_(4 * first_block), end_(4 * (first_block + kFirstNoiseBlock)) {}

    float uniform(float low, float high) { return low + (high - low) * stream_.uniform(take()); }
    /// low..high, both included.
    int integer(int low, int high) {
        return low + static_cast<int>(stream_.below(take(), static_cast<std::uint32_t>(high - low + 1)));
    }
    /// (cos, sin) of an angle that is uniform between two.
    std::pair<float, float> direction(float low = 0.0f, float high = kTurn) {
        const double angle = static_cast<double>(uniform(low, high));
        return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    }
    Colour colour(float low, float high) {
        Colour made;
        for (float& c : made) c = uniform(low, high);
        return made;
    }

  private:
    std::uint64_t take() {
        QSTEP_CHECK(next_ < end_, "more draws than a synthetic image has");
        return next_++;
    }

    RandomStream stream_;
    std::uint64_t next_, end_;
};

/// colour(x, y) = base + slope_x * (x - 15.5) + slope_y * (y - 15.5) + stripe * wave(kx * x + ky * y + phase)
/// with a triangle wave between -1 and 1 of period 1.
struct Texture {
    Colour base, slope_x, slope_y, stripe;
    float kx, ky, phase;
};

Texture draw_texture(Draws& draws, const Colour& base) {
    Texture texture;
    texture.base = base;
    texture.slope_x = draws.colour(-0.7f, 0.7f);
    texture.slope_y = draws.colour(-0.7f, 0.7f);
    texture.stripe = draws.colour(-15.0f, 15.0f);
    const auto [cosine, sine] = draws.direction();
    const float frequency = draws.uniform(0.04f, 0.3f);
    texture.kx = frequency * cosine;
    texture.ky = frequency * sine;
    // The offset keeps the argument of the wave positive, where truncation is the floor.
    texture.phase = draws.uniform(0.0f, 1.0f) + 2.0f * kSide;
    return texture;
}

/// Grey with a tint. Where backgrounds have any colour at all, their spread drowns the figures and networks
/// do not begin to learn within an epoch.
Colour draw_background(Draws& draws) {
    Colour made = draws.colour(-25.0f, 25.0f);
    const float grey = draws.uniform(80.0f, 170.0f);
    for (float& c : made) c += grey;
    return made;
}

/// A colour that differs from `from` by `contrast` in one channel and by at least a fifth of it in the
/// others: darker in all in one image of three, else lighter, but for channels that have no room on that
/// side.
Colour contrasting_colour(Draws& draws, const Colour& from, float contrast) {
    const Colour change = draws.colour(0.2f, 1.0f);
    const float largest = std::max({change[0], change[1], change[2]});
    const float sign = draws.integer(0, 2) == 0 ? -1.0f : 1.0f;
    Colour made;
    for (std::size_t c = 0; c < 3; ++c) {
        const float delta = sign * change[c] / largest * contrast;
        const bool fits = from[c] + delta >= 0.0f && from[c] + delta <= 255.0f;
        made[c] = from[c] + (fits ? delta : -delta);
    }
    return made;
}

struct Stroke {
    float x0, y0, dx, dy,
        radius;  // the points within `radius` of the line from (x0, y0) to (x0 + dx, y0 + dy)
    Colour colour;
};

Stroke draw_stroke(Draws& draws, float longest, float thinnest, float thickest) {
    Stroke stroke;
    stroke.x0 = draws.uniform(0.0f, kSide);
    stroke.y0 = draws.uniform(0.0f, kSide);
    const auto [cosine, sine] = draws.direction();
    const float length = draws.uniform(0.0f, longest);
    stroke.dx = length * cosine;
    stroke.dy = length * sine;
    stroke.radius = draws.uniform(thinnest, thickest);
    stroke.colour = draws.colour(0.0f, 255.0f);
    return stroke;
}

Placement draw_placement(Draws& draws) {
    const auto [cosine, sine] = draws.direction(-0.6f, 0.6f);
    const float size = draws.uniform(13.0f, 22.0f);
    const float stretch = draws.uniform(0.8f, 1.25f);
    Placement placement;
    placement.x0 = kMiddle + draws.uniform(-5.0f, 5.0f);
    placement.y0 = kMiddle + draws.uniform(-5.0f, 5.0f);
    placement.m[0] = cosine / size * stretch;
    placement.m[1] = sine / size * stretch;
    placement.m[2] = -sine / size / stretch;
    placement.m[3] = cosine / size / stretch;
    placement.scale = size;
    return placement;
}

/// Three planes of float pixels, painted from back to front.
class Canvas {
  public:
    /// paint = coverage * texture + (1 - coverage) * paint.
    void blend(const Texture& texture, const float* coverage) {
        std::array<float, kPixels> wave;
        for (int y = 0; y < kSide; ++y) {
            for (int x = 0; x < kSide; ++x) {
                const float t =
                    texture.kx * static_cast<float>(x) + texture.ky * static_cast<float>(y) + texture.phase;
                const float fraction = t - static_cast<float>(static_cast<int>(t));
                wave[static_cast<std::size_t>(y * kSide + x)] = 4.0f * std::abs(fraction - 0.5f) - 1.0f;
            }
        }
        for (std::size_t c = 0; c < 3; ++c) {
            for (int y = 0; y < kSide; ++y) {
                const float row_base =
                    texture.base[c] + texture.slope_y[c] * (static_cast<float>(y) - kMiddle);
                float* row = planes_[c].data() + y * kSide;
                for (int x = 0; x < kSide; ++x) {
                    const std::size_t i = static_cast<std::size_t>(y * kSide + x);
                    const float colour = row_base + texture.slope_x[c] * (static_cast<float>(x) - kMiddle) +
                                         texture.stripe[c] * wave[i];
                    row[x] += coverage[i] * (colour - row[x]);
                }
            }
        }
    }

    void blend(const Stroke& s) {
        const float reach = s.radius + 1.0f;
        const auto low = [&](float a, float d) {
            return std::max(0, static_cast<int>(std::min(a, a + d) - reach));
        };
        const auto high = [&](float a, float d) {
            return std::min(kSide - 1, static_cast<int>(std::max(a, a + d) + reach));
        };
        const float inverse_square = 1.0f / std::max(1e-6f, s.dx * s.dx + s.dy * s.dy);
        for (int y = low(s.y0, s.dy); y <= high(s.y0, s.dy); ++y) {
            for (int x = low(s.x0, s.dx); x <= high(s.x0, s.dx); ++x) {
                const float px = static_cast<float>(x) - s.x0, py = static_cast<float>(y) - s.y0;
                const float along = std::clamp((px * s.dx + py * s.dy) * inverse_square, 0.0f, 1.0f);
                const float qx = px - along * s.dx, qy = py - along * s.dy;
                const float distance = std::sqrt(qx * qx + qy * qy) - s.radius;
                const float coverage = std::clamp(0.5f - distance, 0.0f, 1.0f);
                const std::size_t i = static_cast<std::size_t>(y * kSide + x);
                for (std::size_t c = 0; c < 3; ++c) planes_[c][i] += coverage * (s.colour[c] - planes_[c][i]);
            }
        }
    }

    /// Adds noise, uniform in -amplitude..amplitude for each byte, and rounds to 0..255.
    void develop(std::span<std::uint8_t, kImageBytes> image, const RandomStream& stream, std::uint64_t block,
                 float amplitude) const {
        const float* pixel = planes_[0].data();
        static_assert(sizeof(planes_) == kImageBytes * sizeof(float));
        for (std::size_t i = 0; i < kImageBytes; i += 16) {
            const Draw4 draw = stream.block(block + i / 16);
            for (std::size_t j = 0; j < 16; ++j) {
                const std::uint32_t byte = (draw.word[j / 4] >> (8 * (j % 4))) & 0xffu;
                const float noise = (static_cast<float>(byte) - 127.5f) * (amplitude / 127.5f);
                const float value = std::min(255.0f, std::max(0.0f, pixel[i + j] + noise));
                image[i + j] = static_cast<std::uint8_t>(value + 0.5f);
            }
        }
    }

  private:
    std::array<std::array<float, kPixels>, 3> planes_{};
};

RandomStream image_stream(std::uint64_t seed, SyntheticPart part) {
    return {seed, Purpose::synthetic_data, static_cast<std::uint32_t>(part)};
}

std::uint64_t first_block(std::int64_t index) {
    return static_cast<std::uint64_t>(index) * kBlocksPerImage;
}

Dataset make_part(std::string name, std::int64_t count, std::uint64_t seed, SyntheticPart part) {
    QSTEP_CHECK(count >= 1, "{} {}", count, name);
    Dataset dataset;
    dataset.name = std::move(name);
    dataset.is_synthetic = true;
    dataset.images.resize(static_cast<std::size_t>(count * kImageBytes));
    dataset.labels.resize(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) {
        draw_synthetic_image(
            std::span<std::uint8_t, kImageBytes>(dataset.images.data() + i * kImageBytes, kImageBytes), seed,
            part, i);
        dataset.labels[static_cast<std::size_t>(i)] = synthetic_label(seed, part, i);
    }
    return dataset;
}

}  // namespace

std::uint8_t synthetic_label(std::uint64_t seed, SyntheticPart part, std::int64_t index) {
    // The last draw before the noise of the first image of the ten turns the row of classes.
    const std::uint64_t element = 4 * (first_block(index / kClassCount * kClassCount) + kFirstNoiseBlock) - 1;
    const std::uint32_t turn = image_stream(seed, part).below(element, kClassCount);
    return static_cast<std::uint8_t>((static_cast<std::int64_t>(turn) + index) % kClassCount);
}

void draw_synthetic_image(std::span<std::uint8_t, kImageBytes> image, std::uint64_t seed, SyntheticPart part,
                          std::int64_t index) {
    static constexpr auto kEverywhere = [] {
        std::array<float, kPixels> ones{};
        for (float& one : ones) one = 1.0f;
        return ones;
    }();
    const RandomStream stream = image_stream(seed, part);
    Draws draws(stream, first_block(index));
    Canvas canvas;

    const Colour behind = draw_background(draws);
    canvas.blend(draw_texture(draws, behind), kEverywhere.data());
    for (int strokes = draws.integer(1, 3); strokes > 0; --strokes)
        canvas.blend(draw_stroke(draws, 14.0f, 0.7f, 2.5f));

    std::array<float, kPixels> coverage;
    draw_outline(coverage.data(), synthetic_label(seed, part, index), draw_placement(draws));
    const Colour front = contrasting_colour(draws, behind, draws.uniform(40.0f, 130.0f));
    canvas.blend(draw_texture(draws, front), coverage.data());
    for (int strokes = draws.integer(0, 1); strokes > 0; --strokes)
        canvas.blend(draw_stroke(draws, 14.0f, 0.6f, 1.2f));

    canvas.develop(image, stream, first_block(index) + kFirstNoiseBlock, draws.uniform(4.0f, 24.0f));
}

DataSplits make_synthetic(std::int64_t train_count, std::int64_t test_count, std::uint64_t seed) {
    return {make_part("synthetic training images", train_count, seed, SyntheticPart::train),
            make_part("synthetic test images", test_count, seed, SyntheticPart::test)};
}

}  // namespace qstep

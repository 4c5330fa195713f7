// Cuts, mirrors and normalises one image on the CPU, through a table of the 256 values of each channel.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/image_crop.h"

namespace qstep {

namespace {

constexpr std::size_t kSide = kImageSide;
constexpr std::size_t kPlane = kSide * kSide;

/// The normalised value of each byte, for each channel.
template <typename T>
using Tables = std::array<std::array<T, 256>, 3>;

template <typename T>
const Tables<T>& normalisation_tables() {
    static const Tables<T> tables = [] {
        Tables<T> made;
        for (int c = 0; c < 3; ++c)
            for (int p = 0; p < 256; ++p)
                made[static_cast<std::size_t>(c)][static_cast<std::size_t>(p)] =
                    from_float<T>(normalised_byte(p, c));
        return made;
    }();
    return tables;
}

/// Row `row` (may lie outside) of a plane, shifted by left - 4 columns, mirrored if asked for.
void cut_row(std::uint8_t* to, const std::uint8_t* plane, int row, const Crop& crop) {
    std::memset(to, 0, kSide);
    if (row < 0 || row >= static_cast<int>(kSide)) return;
    const int shift = crop.left - kCropPadding;
    const int begin = std::max(0, -shift), end = std::min<int>(kSide, static_cast<int>(kSide) - shift);
    std::memcpy(to + begin, plane + row * static_cast<int>(kSide) + begin + shift,
                static_cast<std::size_t>(end - begin));
    if (crop.flip) std::reverse(to, to + kSide);
}

}  // namespace

template <typename T>
void write_image(T* to, const std::uint8_t* image, const Crop& crop) {
    const Tables<T>& tables = normalisation_tables<T>();
    std::array<std::array<std::uint8_t, kSide>, 3> line;
    for (int y = 0; y < static_cast<int>(kSide); ++y) {
        for (std::size_t c = 0; c < 3; ++c)
            cut_row(line[c].data(), image + c * kPlane, y + crop.top - kCropPadding, crop);
        for (std::size_t x = 0; x < kSide; ++x, to += 3) {
            to[0] = tables[0][line[0][x]];
            to[1] = tables[1][line[1][x]];
            to[2] = tables[2][line[2][x]];
        }
    }
}

template void write_image<float>(float*, const std::uint8_t*, const Crop&);
template void write_image<bf16>(bf16*, const std::uint8_t*, const Crop&);

}  // namespace qstep

#include "data/augment.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "engine/error.h"
#include "engine/random.h"

namespace qstep {
namespace {

constexpr std::size_t kSide = kImageSide;
constexpr std::size_t kPlane = kSide * kSide;
constexpr std::array<float, 3> kMean = {0.4914f, 0.4822f, 0.4465f};
constexpr std::array<float, 3> kStd = {0.2023f, 0.1994f, 0.2010f};
constexpr Crop kWholeImage = {kCropPadding, kCropPadding, false};

/// The normalised value of each byte, for each channel.
template <typename T>
using Tables = std::array<std::array<T, 256>, 3>;

template <typename T>
const Tables<T>& normalisation_tables() {
    static const Tables<T> tables = [] {
        Tables<T> made;
        for (std::size_t c = 0; c < 3; ++c)
            for (std::size_t p = 0; p < 256; ++p)
                made[c][p] = from_float<T>((static_cast<float>(p) / 255.0f - kMean[c]) / kStd[c]);
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

template <typename T>
void write_image(T* to, const std::uint8_t* image, const Crop& crop, const Tables<T>& tables) {
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

template <typename T, typename CropOf>
void write_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                 std::span<const std::int32_t> indices, CropOf&& crop_of) {
    const Tables<T>& tables = normalisation_tables<T>();
    T* to = images.as<T>();
    std::int32_t* label_to = labels.as<std::int32_t>();
    for (const std::int32_t index : indices) {
        QSTEP_CHECK(index >= 0 && index < dataset.count(), "image {} of {}", index, dataset.count());
        write_image(to, dataset.image(index), crop_of(index), tables);
        to += kImageBytes;
        *label_to++ = dataset.labels[static_cast<std::size_t>(index)];
    }
}

template <typename CropOf>
void assemble(const Tensor& images, const Tensor& labels, const Dataset& dataset,
              std::span<const std::int32_t> indices, CropOf&& crop_of) {
    const auto n = static_cast<std::int64_t>(indices.size());
    check_tensor(images, "images", images.dtype, {n, kImageSide, kImageSide, kImageChannels});
    check_tensor(labels, "labels", DType::i32, {n});
    QSTEP_CHECK(images.dtype == DType::f32 || images.dtype == DType::bf16, "images cannot be {}",
                name_of(images.dtype));
    if (images.dtype == DType::f32)
        write_batch<float>(images, labels, dataset, indices, crop_of);
    else
        write_batch<bf16>(images, labels, dataset, indices, crop_of);
}

}  // namespace

Crop draw_crop(std::uint64_t seed, std::uint32_t epoch, std::int64_t image_index) {
    constexpr std::uint64_t kOffsets = 2 * kCropPadding + 1;
    const Draw4 draw =
        RandomStream{seed, Purpose::augmentation, epoch}.block(static_cast<std::uint64_t>(image_index));
    return {static_cast<int>((draw.word[0] * kOffsets) >> 32),
            static_cast<int>((draw.word[1] * kOffsets) >> 32), (draw.word[2] >> 31) != 0};
}

void assemble_training_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                             std::span<const std::int32_t> indices, std::uint64_t seed, std::uint32_t epoch) {
    assemble(images, labels, dataset, indices,
             [&](std::int32_t index) { return draw_crop(seed, epoch, index); });
}

void assemble_evaluation_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                               std::span<const std::int32_t> indices) {
    assemble(images, labels, dataset, indices, [](std::int32_t) { return kWholeImage; });
}

}  // namespace qstep

// How a training image is cropped, mirrored and normalised: the same on every device.
#pragma once

#include <cstdint>

#include "engine/bf16.h"
#include "engine/random.h"

namespace qstep {

/// Images are [3,32,32] bytes, or [32,32,3] numbers in a batch.
inline constexpr std::int64_t kImageSide = 32;
/// Red, green, blue.
inline constexpr std::int64_t kImageChannels = 3;
/// Of one image in a data set.
inline constexpr std::int64_t kImageBytes = kImageChannels * kImageSide * kImageSide;
/// Black pixels on each side of an image, from which 32x32 are cut.
inline constexpr int kCropPadding = 4;

/// Output pixel (y, x) is pixel (y + top - 4, x' + left - 4) of the image, 0 outside, x' = flip ? 31 - x : x.
struct Crop {
    int top;   // 0..8
    int left;  // 0..8
    bool flip;
};
/// The image as it is.
inline constexpr Crop kWholeImage = {kCropPadding, kCropPadding, false};

/// A pure function of its arguments; image_index is the image's place in the data set, not in the batch.
/// Words 0, 1, 2 of RandomStream{seed, Purpose::augmentation, epoch}.block(image_index): top and left are
/// uniform in 0..8, flip is a fair coin.
QSTEP_HOST_DEVICE inline Crop draw_crop(std::uint64_t seed, std::uint32_t epoch, std::int64_t image_index) {
    constexpr std::uint64_t kOffsets = 2 * kCropPadding + 1;
    const Draw4 draw =
        RandomStream{seed, Purpose::augmentation, epoch}.block(static_cast<std::uint64_t>(image_index));
    return {static_cast<int>((draw.word[0] * kOffsets) >> 32),
            static_cast<int>((draw.word[1] * kOffsets) >> 32), (draw.word[2] >> 31) != 0};
}

/// (byte/255 - mean[channel]) / std[channel] in float32, every operation rounded by itself; mean (.4914,
/// .4822, .4465), std (.2023, .1994, .2010) are those of CIFAR-10's training images.
QSTEP_HOST_DEVICE inline float normalised_byte(int byte, int channel) {
    const float mean = channel == 0 ? 0.4914f : channel == 1 ? 0.4822f : 0.4465f;
    const float deviation = channel == 0 ? 0.2023f : channel == 1 ? 0.1994f : 0.2010f;
    return (static_cast<float>(byte) / 255.0f - mean) / deviation;
}

/// One image in host memory. to: [32,32,3], overwritten, T float or bf16; image: its 3072 bytes, a plane for
/// each channel.
template <typename T>
void write_image(T* to, const std::uint8_t* image, const Crop& crop);

}  // namespace qstep

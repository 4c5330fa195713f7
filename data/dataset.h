// A set of labelled 32x32 colour images in memory, in the byte layout of the CIFAR-10 files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/image_crop.h"

namespace qstep {

/// Labels are 0 .. kClassCount - 1.
inline constexpr std::int64_t kClassCount = 10;

/// One of the two sets.
struct Dataset {
    /// What messages call it: "CIFAR-10 training images", "synthetic test images".
    std::string name;
    /// True where an accuracy says nothing about CIFAR-10.
    bool is_synthetic = false;
    /// [N,3,32,32]: all red bytes of an image, row by row from the top, then green, then blue.
    std::vector<std::uint8_t> images;
    /// [N], each in [0, kClassCount).
    std::vector<std::uint8_t> labels;

    std::int64_t count() const { return static_cast<std::int64_t>(labels.size()); }
    /// The kImageBytes bytes of image `index`.
    const std::uint8_t* image(std::int64_t index) const { return images.data() + index * kImageBytes; }
};

/// What a run trains on and what it is tested on.
struct DataSplits {
    Dataset train;
    Dataset test;
};

}  // namespace qstep

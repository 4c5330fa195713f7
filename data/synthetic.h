// A ten-class image set that is drawn instead of downloaded, for machines without CIFAR-10.
//
// The class is the outline of the largest figure in the image (synthetic_shapes.h): a disc, ring, triangle,
// square, plus, star, crescent, heart, arrow or bow tie. It lies anywhere near the middle, turned by up to 34
// degrees, somewhat stretched, a third to two thirds of the image wide. Figure and background have colour
// gradients and stripes; strokes lie behind and across the figure; noise covers all. Everything but the
// outline is drawn independently of the class, all outlines have the same area, and the figure may be lighter
// or darker than its background, so colour, brightness and position tell nothing and a linear classifier on
// pixels is little better than chance. Its accuracies are not comparable with CIFAR-10.
#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"

namespace qstep {

/// The set that "synthetic" stands for, as many images as CIFAR-10.
inline constexpr std::int64_t kSyntheticTrainCount = 50000;
/// Its test images.
inline constexpr std::int64_t kSyntheticTestCount = 10000;
/// Its seed.
inline constexpr std::uint64_t kSyntheticSeed = 0;

/// Which of the two parts of the set; their images have no draw in common.
enum class SyntheticPart : std::uint32_t { train = 0, test = 1 };

/// The class of an image: each run of ten images starting at a multiple of ten holds every class once.
std::uint8_t synthetic_label(std::uint64_t seed, SyntheticPart part, std::int64_t index);

/// image: [3,32,32], overwritten. A pure function of (seed, part, index), index < 2^54: the draws are blocks
/// 256*index to 256*index+255 of RandomStream{seed, Purpose::synthetic_data, part}.
void draw_synthetic_image(std::span<std::uint8_t, kImageBytes> image, std::uint64_t seed, SyntheticPart part,
                          std::int64_t index);

/// The first train_count and test_count images of the two parts, drawn by all OpenMP threads; the result
/// does not depend on their number. Both counts >= 1.
DataSplits make_synthetic(std::int64_t train_count = kSyntheticTrainCount,
                          std::int64_t test_count = kSyntheticTestCount, std::uint64_t seed = kSyntheticSeed);

}  // namespace qstep

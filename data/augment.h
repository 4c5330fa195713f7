// Assembles batches: gather, random crop, horizontal flip, normalisation.
//
// A pixel p of channel c becomes (p/255 - mean[c]) / std[c] in float32, mean (.4914, .4822, .4465), std
// (.2023, .1994, .2010). Training images are first padded by four black pixels on each side, cut to 32x32
// and possibly mirrored, so a padded pixel becomes (0 - mean[c]) / std[c]. This is torchvision's
// RandomCrop(32, padding=4), RandomHorizontalFlip(), ToTensor(), Normalize(mean, std), with draws of its own.
//
// Element types: f32, or bf16 rounded to nearest even from the f32 value. Runs in the calling thread,
// allocates nothing.
#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"
#include "engine/tensor.h"
#include "kernels/image_crop.h"

namespace qstep {

/// images: [n,32,32,3] f32 or bf16, labels: [n] i32, n = indices.size(); both overwritten. Row i is image
/// indices[i] of `dataset` under draw_crop(seed, epoch, indices[i]). Throws when an index is outside the set.
void assemble_training_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                             std::span<const std::int32_t> indices, std::uint64_t seed, std::uint32_t epoch);

/// The same without crop and flip.
void assemble_evaluation_batch(const Tensor& images, const Tensor& labels, const Dataset& dataset,
                               std::span<const std::int32_t> indices);

}  // namespace qstep

// Cutting one image out of the bytes of a data set.
#pragma once

#include "engine/bf16.h"
#include "kernels/image_crop.h"

namespace qstep::cpu {

/// to: [32,32,3], overwritten, T float or bf16; image: its 3072 bytes, a plane for each channel.
template <typename T>
void write_image(T* to, const std::uint8_t* image, const Crop& crop);

}  // namespace qstep::cpu

// Where the product of a narrow convolution's strip goes.
#pragma once

#include "kernels/cuda/device/batch_norm.cuh"
#include "kernels/cuda/device/narrow_conv.cuh"

namespace qstep::cuda {

/// Of y; backward with stride 2 as well, whose last row and column may then stand for pixels of x that are
/// not there.
template <typename Conv, bool kBackward>
Strips strips_of(const Conv2dShape& shape) {
    constexpr int kOuter = kBackward ? Conv::kIn : Conv::kOut;
    return {shape.batch, shape.out_height(), shape.out_width(), NarrowTile<kOuter>::kPixels};
}

/// Elements of each of the two arrays in which blocks leave their sums of the result's channels.
template <bool kBackward>
std::int64_t partial_count(const Conv2dShape& shape) {
    std::int64_t count = 0;
    with_narrow_conv(shape, [&]<typename Conv>(Conv) {
        if constexpr (!kBackward || Conv::kIn > 3)
            count = static_cast<std::int64_t>(strips_of<Conv, kBackward>(shape).count()) *
                    (kBackward ? Conv::kIn : Conv::kOut);
    });
    return count;
}

/// The two arrays, one behind the other.
template <bool kBackward>
Partials partials_in(void* workspace, const Conv2dShape& shape) {
    auto* first = static_cast<double*>(workspace);
    return {first, first + partial_count<kBackward>(shape)};
}

/// Which pixel of the result a strip's pixel is. With kStep 2 those of one parity of twice the strip's image.
template <int kStep>
struct NarrowTarget {
    std::int64_t first;  // pixel: of the strip, or of its image
    int first_row, strip_width;
    int height, width;  // of the result
    int row_parity, column_parity;

    __device__ NarrowTarget(const Strips& strips, int strip, int height_, int width_, int parity)
        : first_row(strips.first_row(strip)),
          strip_width(strips.width),
          height(height_),
          width(width_),
          row_parity(parity / 2),
          column_parity(parity % 2) {
        first = static_cast<std::int64_t>(strips.image(strip)) * height * width;
        if (kStep == 1) first += first_row * width;
    }
    /// -1 where it lies outside.
    __device__ std::int64_t operator()(int pixel) const {
        if constexpr (kStep == 1) return first + pixel;
        const int row = (first_row + pixel / strip_width) * kStep + row_parity;
        const int column = pixel % strip_width * kStep + column_parity;
        return row < height && column < width ? first + static_cast<std::int64_t>(row) * width + column : -1;
    }
};

/// Elements of shared memory that store_sums() needs for `pixels`.
template <int kOuter>
constexpr int staged_elements(int pixels) {
    return pixels * (NarrowTile<kOuter>::kColumns + kVector);
}

/// Stores what it is given.
struct StoredAsIs {
    struct Inputs {};
    __device__ Inputs load(std::int64_t) const { return {}; }
    __device__ uint4 value(const Inputs&, uint4 bytes) const { return bytes; }
};

/// Rounds the sums to bf16 and writes those of the strip's first `pixels` to [.., kOuter], from channel
/// `first_channel`; by way of shared memory, so that global memory gets 16 bytes at a time. These pass
/// through `finish`, which may load(element) what else it needs first and makes the value() that is stored; a
/// thread always handles the same channels. All threads call it.
template <int kOuter, int kStep, typename Finish>
__device__ void store_sums(bf16* to, const NarrowTarget<kStep>& target, int first_channel,
                           NarrowSums<kOuter>& sums, int pixels, bf16* staged, Finish& finish) {
    using Tile = NarrowTile<kOuter>;
    constexpr int kStride = Tile::kColumns + kVector, kVectors = Tile::kColumns / kVector;
    const NarrowPlace<kOuter> place;
    __syncthreads();  // whoever reads what lay there is through
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < Tile::kColumnTiles; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float* const pair = sums[m][n] + 2 * half;
                const std::uint32_t bits = detail::bf16_pair(pair[0], pair[1]);
                pair[0] = detail::float_of_bits(bits << 16);
                pair[1] = detail::float_of_bits(bits & 0xffff0000u);
                const int pixel = place.pixel(m, half);
                if (pixel < pixels) memcpy(staged + pixel * kStride + place.column(n), &bits, sizeof(bits));
            }
    __syncthreads();
    static_assert(kNarrowThreads % kVectors == 0);
    constexpr int kBatch = 4, kStepPixels = kNarrowThreads / kVectors;
    const int channel = static_cast<int>(threadIdx.x) % kVectors * kVector;
    for (int begin = static_cast<int>(threadIdx.x) / kVectors; begin < pixels;
         begin += kBatch * kStepPixels) {
        std::int64_t element[kBatch];
        typename Finish::Inputs inputs[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int pixel = begin + i * kStepPixels;
            const std::int64_t in_result = pixel < pixels ? target(pixel) : -1;
            element[i] = in_result < 0 ? -1 : in_result * kOuter + first_channel + channel;
            if (element[i] >= 0) inputs[i] = finish.load(element[i]);
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            if (element[i] < 0) continue;
            const uint4 bytes = detail::load_16_bytes(staged + (begin + i * kStepPixels) * kStride + channel);
            detail::store_16_bytes_globally(to + element[i], finish.value(inputs[i], bytes));
        }
    }
}

/// sums += what lies where store_sums() will write.
template <int kOuter, int kStep>
__device__ void add_stored(NarrowSums<kOuter>& sums, const bf16* stored, const NarrowTarget<kStep>& target,
                           int first_channel, int pixels) {
    using Tile = NarrowTile<kOuter>;
    const NarrowPlace<kOuter> place;
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int pixel = place.pixel(m, half);
            const std::int64_t place_in_result = pixel < pixels ? target(pixel) : -1;
            if (place_in_result < 0) continue;
            const bf16* const from = stored + place_in_result * kOuter + first_channel;
#pragma unroll
            for (int n = 0; n < Tile::kColumnTiles; ++n) {
                const std::uint32_t bits = detail::load_4_bytes(from + place.column(n));
                sums[m][n][2 * half] += detail::float_of_bits(bits << 16);
                sums[m][n][2 * half + 1] += detail::float_of_bits(bits & 0xffff0000u);
            }
        }
}

}  // namespace qstep::cuda

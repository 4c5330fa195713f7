// How a narrow convolution (narrow_conv.h) is divided among blocks and warps, and its product.
//
// A block makes a strip of whole rows of one image, for up to 32 channels of the result. It puts the strip
// with a border of one pixel (zero outside the image) and its filters into shared memory, once. Then each of
// the nine taps is a matrix product [pixels, channels] * [channels, columns] whose left factor is the strip
// shifted by the tap: ldmatrix takes an address for each pixel, so nothing is rearranged. Pixels and filter
// rows lie 8 elements (16 bytes) further apart than they are long, which puts the 8 rows of a matrix on
// different banks.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/device/matrix_unit.cuh"
#include "kernels/cuda/device/vector.cuh"
#include "kernels/cuda/narrow_conv.h"

namespace qstep::cuda {

inline constexpr int kNarrowThreads = 256;
inline constexpr int kTaps = 9;
/// Elements of a 16-byte access.
inline constexpr int kVector = kVectorOf<bf16>;

template <int kChannels>
struct NarrowTile {
    static constexpr int kWarps = kNarrowThreads / 32;
    static constexpr int kColumns = kChannels < 32 ? kChannels : 32;  // channels of the result, a block
    static constexpr int kParts = kChannels / kColumns;               // blocks that share a strip
    static constexpr int kWarpColumns = kChannels == 64 ? 16 : kColumns;
    static constexpr int kColumnWarps = kColumns / kWarpColumns;
    static constexpr int kPixelWarps = kWarps / kColumnWarps;
    static constexpr int kWarpPixels = kChannels == 16 ? 64 : 16;
    static constexpr int kPixels = kWarpPixels * kPixelWarps;  // of a strip at most
    static constexpr int kRowTiles = kWarpPixels / 16, kColumnTiles = kWarpColumns / 8;
    static constexpr int kStride = kChannels + kVector;  // elements from pixel to pixel
};

/// An image's rows in strips of equal height, but for the last.
struct Strips {
    int images, height, width;
    int rows;      // of a strip
    int of_image;  // strips

    int count() const { return images * of_image; }
    __host__ __device__ int wide() const { return width + 2; }
    __host__ __device__ int bordered_pixels() const { return (rows + 2) * wide(); }
    __host__ __device__ int rows_of(int strip) const {
        const int left = height - strip % of_image * rows;
        return left < rows ? left : rows;
    }
    __host__ __device__ int pixels_of(int strip) const { return rows_of(strip) * width; }
    /// Of its first pixel among all images.
    __host__ __device__ std::int64_t first_pixel(int strip) const {
        return (static_cast<std::int64_t>(strip / of_image) * height + strip % of_image * rows) * width;
    }
};

template <int kChannels>
Strips divide_rows(const Conv2dShape& shape) {
    Strips strips{static_cast<int>(shape.batch), static_cast<int>(shape.height),
                  static_cast<int>(shape.width), 0, 0};
    const int most = std::clamp(NarrowTile<kChannels>::kPixels / strips.width, 1, strips.height);
    const int fewest = (strips.height + most - 1) / most;
    strips.rows = (strips.height + fewest - 1) / fewest;
    strips.of_image = (strips.height + strips.rows - 1) / strips.rows;
    return strips;
}

/// Calls f with the number of channels as a type's value.
template <typename F>
auto with_narrow_channels(const Conv2dShape& shape, F&& f) {
    switch (shape.in_channels) {
        case 16:
            return f(std::integral_constant<int, 16>{});
        case 32:
            return f(std::integral_constant<int, 32>{});
        default:
            return f(std::integral_constant<int, 64>{});
    }
}

/// Of the convolution's two activations or their gradients.
inline void check_narrow_operands(const Conv2dShape& shape, const Tensor& x, const Tensor& y) {
    QSTEP_CHECK(is_narrow_conv(shape, x.dtype), "no narrow convolution: x {}, w {}", shape.x().to_string(),
                shape.w().to_string());
    check_tensor(x, "x", DType::bf16, shape.x());
    check_tensor(y, "y", DType::bf16, shape.y());
    QSTEP_CHECK(aligned_for_vectors(x.as<bf16>(), y.as<bf16>()),
                "an operand of a convolution lies off a multiple of 16 bytes");
}

/// Puts a strip with its border into shared memory. Source is a struct with
///   Inputs load(element)           16 bytes' worth of elements from there on;
///   uint4 value(inputs)            what goes into shared memory;
///   keep(element, value)           is told of the values within the strip.
/// A thread always handles the same channels of a pixel.
template <int kChannels, typename Source>
__device__ void load_strip(bf16* pixels, const Strips& strips, int strip, const Source& source) {
    constexpr int kVectors = kChannels / kVector, kBatch = 4;
    static_assert(kNarrowThreads % kVectors == 0);
    const int first_row = strip % strips.of_image * strips.rows, end_row = first_row + strips.rows_of(strip);
    const std::int64_t image = static_cast<std::int64_t>(strip / strips.of_image) * strips.height;
    const int channel = static_cast<int>(threadIdx.x) % kVectors * kVector;
    const int wide = strips.wide(), end = strips.bordered_pixels();
    for (int begin = static_cast<int>(threadIdx.x) / kVectors; begin < end;
         begin += kBatch * kNarrowThreads / kVectors) {
        typename Source::Inputs inputs[kBatch];
        std::int64_t element[kBatch];
        bool inside[kBatch], own[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int pixel = begin + i * (kNarrowThreads / kVectors);
            const int row = first_row - 1 + pixel / wide, column = pixel % wide - 1;
            inside[i] =
                pixel < end && row >= 0 && row < strips.height && column >= 0 && column < strips.width;
            own[i] = inside[i] && row >= first_row && row < end_row;
            element[i] = ((image + row) * strips.width + column) * kChannels + channel;
            if (inside[i]) inputs[i] = source.load(element[i]);
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int pixel = begin + i * (kNarrowThreads / kVectors);
            if (pixel >= end) break;
            const uint4 value = inside[i] ? source.value(inputs[i]) : uint4{0, 0, 0, 0};
            if (own[i]) source.keep(element[i], value);
            detail::store_16_bytes(pixels + pixel * NarrowTile<kChannels>::kStride + channel, value);
        }
    }
}

/// Filters in shared memory, [tap][row][kStride]. Forward: rows are the block's channels of y, elements those
/// of x. Backward: rows are all channels of y, elements the block's channels of x.
template <int kChannels, bool kBackward>
struct NarrowFilters {
    using Tile = NarrowTile<kChannels>;
    static constexpr int kRows = kBackward ? kChannels : Tile::kColumns;
    static constexpr int kElements = kBackward ? Tile::kColumns : kChannels;
    static constexpr int kStride = kElements + kVector;
    static constexpr int kTotal = kTaps * kRows * kStride;

    /// w: [O,3,3,I].
    __device__ static void load(bf16* filters, const bf16* w, int part) {
        constexpr int kVectors = kElements / kVector;
        const int first_row = kBackward ? 0 : part * Tile::kColumns;
        const int first_element = kBackward ? part * Tile::kColumns : 0;
#pragma unroll 4
        for (int at = static_cast<int>(threadIdx.x); at < kTaps * kRows * kVectors; at += kNarrowThreads) {
            const int vector = at % kVectors, tap = at / kVectors % kTaps, row = at / kVectors / kTaps;
            const uint4 bytes = detail::load_16_bytes(w + ((first_row + row) * kTaps + tap) * kChannels +
                                                      first_element + vector * kVector);
            detail::store_16_bytes(filters + (tap * kRows + row) * kStride + vector * kVector, bytes);
        }
    }
};

/// Where a thread stands in the product: its warp's pixels and columns, and its own in each 16x8 tile.
template <int kChannels>
struct NarrowPlace {
    using Tile = NarrowTile<kChannels>;
    int lane, first_pixel, first_column;

    __device__ NarrowPlace() {
        const int warp = static_cast<int>(threadIdx.x) / 32;
        lane = static_cast<int>(threadIdx.x) % 32;
        first_pixel = warp % Tile::kPixelWarps * Tile::kWarpPixels;
        first_column = warp / Tile::kPixelWarps * Tile::kWarpColumns;
    }
    /// Of sums[row_tile][..][2 * half + {0, 1}], within the strip.
    __device__ int pixel(int row_tile, int half) const {
        return first_pixel + 16 * row_tile + 8 * half + lane / 4;
    }
    /// Of sums[..][column_tile][2 * half], within the block's columns.
    __device__ int column(int column_tile) const { return first_column + 8 * column_tile + 2 * (lane % 4); }
};

/// sums[m][n]: the tile's product; of pixels beyond the strip something of no meaning.
template <int kChannels, bool kBackward>
__device__ void multiply_strip(
    float (&sums)[NarrowTile<kChannels>::kRowTiles][NarrowTile<kChannels>::kColumnTiles][4],
    const bf16* pixels, const bf16* filters, const Strips& strips) {
    using Tile = NarrowTile<kChannels>;
    using Filters = NarrowFilters<kChannels, kBackward>;
    const NarrowPlace<kChannels> place;
    const int lane = place.lane;
    const bf16* left[Tile::kRowTiles];
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m) {
        const int last = strips.rows * strips.width - 1, wanted = place.first_pixel + 16 * m + lane % 16;
        const int pixel = wanted < last ? wanted : last;
        left[m] = pixels + (pixel / strips.width * strips.wide() + pixel % strips.width) * Tile::kStride +
                  lane / 16 * 8;
    }
    // Rows of the matrices in memory: columns of the product forward, its inner index backward.
    const int upper = lane / 16 * 8, middle = lane / 8 % 2 * 8, row = lane % 8;
    const bf16* right =
        filters + (kBackward ? (middle + row) * Filters::kStride + place.first_column + upper
                             : (place.first_column + upper + row) * Filters::kStride + middle);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
        const int from = kBackward ? kTaps - 1 - tap : tap;
        const int shift = (from / 3 * strips.wide() + from % 3) * Tile::kStride;
#pragma unroll
        for (int k = 0; k < kChannels; k += 16) {
            std::uint32_t a[Tile::kRowTiles][4];
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m) load_matrices<false>(a[m], left[m] + shift + k);
#pragma unroll
            for (int n = 0; n < Tile::kColumnTiles; n += 2) {
                std::uint32_t b[4];
                const int inner = tap * Filters::kRows + (kBackward ? k : 8 * n);
                load_matrices<kBackward>(b, right + inner * Filters::kStride + (kBackward ? 8 * n : k));
#pragma unroll
                for (int m = 0; m < Tile::kRowTiles; ++m) {
                    multiply_add(sums[m][n], a[m], b[0], b[1]);
                    multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }
}

}  // namespace qstep::cuda

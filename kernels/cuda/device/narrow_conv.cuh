// How a narrow convolution (narrow_conv.h) is divided among blocks and warps, and its product.
//
// A block makes a strip of whole rows of one image, for up to 32 channels of the result. It puts the pixels
// that the strip is made of (zero outside the image) and its filters into shared memory, once. Then each tap
// is a matrix product [pixels, channels] * [channels, columns] whose left factor is those pixels shifted by
// the tap: ldmatrix takes an address for each pixel, so nothing is rearranged. Pixels and filter rows lie 8
// elements (16 bytes) further apart than they are long, which puts the 8 rows of a matrix on different banks
// (two each with stride 2).
#pragma once

#include <algorithm>

#include "kernels/cuda/device/columns.cuh"
#include "kernels/cuda/device/matrix_unit.cuh"
#include "kernels/cuda/device/vector.cuh"
#include "kernels/cuda/narrow_conv.h"

namespace qstep::cuda {

inline constexpr int kNarrowThreads = 256;
static_assert(kNarrowThreads == kColumnThreads, "sums of channels are shared by all threads of a block");
/// Elements of a 16-byte access.
inline constexpr int kVector = kVectorOf<bf16>;

/// A convolution of kIn channels into kOut by filters of kFilter x kFilter, padded to keep an image's size.
template <int kIn_, int kOut_, int kFilter_, int kStride_>
struct Narrow {
    static constexpr int kIn = kIn_, kOut = kOut_, kFilter = kFilter_, kStride = kStride_;
    static constexpr int kPad = kFilter / 2, kTaps = kFilter * kFilter;
    /// Channels of x in shared memory: the products go by 16, with zeros for the rest of an image's three.
    static constexpr int kPaddedIn = (kIn + 15) / 16 * 16;
};

/// Calls f with the convolution's type; false where it is none of them.
template <typename F>
bool with_narrow_conv(const Conv2dShape& shape, F&& f) {
    const auto is = [&]<typename Conv>(Conv) {
        return shape.in_channels == Conv::kIn && shape.out_channels == Conv::kOut &&
               shape.kernel_h == Conv::kFilter && shape.kernel_w == Conv::kFilter &&
               shape.stride == Conv::kStride && shape.pad == Conv::kPad;
    };
    const auto first_of = [&]<typename... Convs>(Convs... convs) {
        return ((is(convs) && (f(convs), true)) || ...);
    };
    return first_of(Narrow<3, 16, 3, 1>{}, Narrow<16, 16, 3, 1>{}, Narrow<32, 32, 3, 1>{},
                    Narrow<64, 64, 3, 1>{}, Narrow<16, 32, 3, 2>{}, Narrow<32, 64, 3, 2>{},
                    Narrow<16, 32, 1, 2>{}, Narrow<32, 64, 1, 2>{});
}

/// Of the convolution's activations or their gradients.
inline void check_narrow_operands(const Conv2dShape& shape, const Tensor& x, const Tensor& y) {
    QSTEP_CHECK(is_narrow_conv(shape, x.dtype), "no narrow convolution: x {}, w {}", shape.x().to_string(),
                shape.w().to_string());
    check_tensor(x, "x", DType::bf16, shape.x());
    check_tensor(y, "y", DType::bf16, shape.y());
    QSTEP_CHECK(aligned_for_vectors(x.as<bf16>(), y.as<bf16>()),
                "an operand of a convolution lies off a multiple of 16 bytes");
}
/// And its filters.
inline void check_narrow_operands(const Conv2dShape& shape, const Tensor& x, const Tensor& y,
                                  const Tensor& w) {
    check_narrow_operands(shape, x, y);
    check_tensor(w, "w", DType::bf16,
                 {shape.out_channels, shape.kernel_h, shape.kernel_w, shape.in_channels});
    QSTEP_CHECK(aligned_for_vectors(w.as<bf16>()), "filters lie off a multiple of 16 bytes");
}

/// A block's part of a product into kOuter channels.
template <int kOuter>
struct NarrowTile {
    static constexpr int kColumns = kOuter < 32 ? kOuter : 32;  // channels of the result
    static constexpr int kParts = kOuter / kColumns;            // blocks that share a strip
    static constexpr int kWarpColumns = kOuter == 64 ? 16 : kColumns;
    static constexpr int kPixelWarps = kNarrowThreads / 32 / (kColumns / kWarpColumns);
    static constexpr int kWarpPixels = kOuter == 16 ? 64 : 16;
    static constexpr int kPixels = kWarpPixels * kPixelWarps;  // of a strip at most
    static constexpr int kRowTiles = kWarpPixels / 16, kColumnTiles = kWarpColumns / 8;
};

/// A thread's sums: tiles of 16 pixels and 8 columns, spread over a warp as matrix_unit.cuh has it.
template <int kOuter>
using NarrowSums = float[NarrowTile<kOuter>::kRowTiles][NarrowTile<kOuter>::kColumnTiles][4];

/// The rows of images in strips of equal height, but for the last of an image.
struct Strips {
    int images, height, width;
    int rows;      // of a strip
    int of_image;  // strips

    Strips(std::int64_t images_, std::int64_t height_, std::int64_t width_, int most_pixels)
        : images(static_cast<int>(images_)),
          height(static_cast<int>(height_)),
          width(static_cast<int>(width_)) {
        const int most = std::clamp(most_pixels / width, 1, height);
        const int fewest = (height + most - 1) / most;
        rows = (height + fewest - 1) / fewest;
        of_image = (height + rows - 1) / rows;
    }
    int count() const { return images * of_image; }
    __device__ int image(int strip) const { return strip / of_image; }
    __device__ int first_row(int strip) const { return strip % of_image * rows; }
    __device__ int pixels_of(int strip) const {
        const int left = height - first_row(strip);
        return (left < rows ? left : rows) * width;
    }
};

/// The pixels that a strip's product reads, in shared memory: `rows` x `wide` of an image of height x width,
/// of which some may lie outside. Row r is the image's first_row + spacing * r.
struct Window {
    int rows, wide;
    int height, width;
    int spacing;

    __host__ __device__ int pixels() const { return rows * wide; }
};

/// Of strips of y in x, or where kBackward of strips of gradients of x in those of y. With stride 2 these are
/// strips of y too: each of its pixels stands for four of x.
template <typename Conv, bool kBackward>
Window window_of(const Strips& strips, const Conv2dShape& shape) {
    const int step = kBackward ? 1 : Conv::kStride;
    // Forward strips cover all of x, read or not, so that a block can write its share of it.
    const int forward = Conv::kFilter < Conv::kStride ? Conv::kStride : Conv::kFilter;
    const int extent = !kBackward ? forward : Conv::kStride == 2 ? Conv::kPad + 1 : Conv::kFilter;
    return {(strips.rows - 1) * step + extent, (strips.width - 1) * step + extent,
            static_cast<int>(kBackward ? shape.out_height() : shape.height),
            static_cast<int>(kBackward ? shape.out_width() : shape.width), 1};
}
/// How far before the strip's first pixel the window begins.
template <typename Conv, bool kBackward>
constexpr int kWindowBefore = kBackward&& Conv::kStride == 2 ? 0 : Conv::kPad;

/// Puts a strip's window of kChannels into shared memory. Source is a struct with
///   Inputs load(element)           16 bytes' worth of elements from there on;
///   uint4 value(inputs)            what goes into shared memory;
///   keep(element, value)           is told of the values in rows own_row and behind, own_rows of them.
/// A thread always handles the same channels of a pixel.
template <int kChannels, typename Source>
__device__ void load_window(bf16* pixels, const Window& window, int image, int first_row, int first_column,
                            int own_row, int own_rows, const Source& source) {
    constexpr int kVectors = kChannels / kVector, kBatch = 4, kStep = kNarrowThreads / kVectors;
    static_assert(kNarrowThreads % kVectors == 0);
    const int channel = static_cast<int>(threadIdx.x) % kVectors * kVector, end = window.pixels();
    for (int begin = static_cast<int>(threadIdx.x) / kVectors; begin < end; begin += kBatch * kStep) {
        typename Source::Inputs inputs[kBatch];
        std::int64_t element[kBatch];
        bool inside[kBatch], own[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int pixel = begin + i * kStep;
            const int row = first_row + pixel / window.wide, column = first_column + pixel % window.wide;
            inside[i] =
                pixel < end && row >= 0 && row < window.height && column >= 0 && column < window.width;
            own[i] = inside[i] && row >= own_row && row < own_row + own_rows;
            element[i] = ((static_cast<std::int64_t>(image) * window.height + row) * window.width + column) *
                             kChannels +
                         channel;
            if (inside[i]) inputs[i] = source.load(element[i]);
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
            const int pixel = begin + i * kStep;
            if (pixel >= end) break;
            const uint4 value = inside[i] ? source.value(inputs[i]) : uint4{0, 0, 0, 0};
            if (own[i]) source.keep(element[i], value);
            detail::store_16_bytes(pixels + pixel * (kChannels + kVector) + channel, value);
        }
    }
}

/// One of an image's pixels, with zeros behind its three channels (all zeros where not `inside`).
__device__ inline void load_image_pixel(bf16* to, const bf16* from, bool inside) {
    const std::uint32_t red = inside ? from[0].bits : 0, green = inside ? from[1].bits : 0,
                        blue = inside ? from[2].bits : 0;
    detail::store_16_bytes(to, {red | green << 16, blue, 0, 0});
    detail::store_16_bytes(to + kVector, {0, 0, 0, 0});
}

/// load_window() for the three channels of images.
__device__ inline void load_image_window(bf16* pixels, const Window& window, int image, int first_row,
                                         int first_column, const bf16* x) {
    for (int at = static_cast<int>(threadIdx.x); at < window.pixels(); at += kNarrowThreads) {
        const int row = first_row + at / window.wide, column = first_column + at % window.wide;
        const bool inside = row >= 0 && row < window.height && column >= 0 && column < window.width;
        const std::int64_t pixel =
            (static_cast<std::int64_t>(image) * window.height + row) * window.width + column;
        load_image_pixel(pixels + at * (16 + kVector), x + 3 * pixel, inside);
    }
}

/// Filters in shared memory, [tap][row][kStride]. Forward: rows are the block's channels of y, elements those
/// of x. Backward: rows are all channels of y, elements the block's channels of x.
template <typename Conv, bool kBackward>
struct NarrowFilters {
    using Tile = NarrowTile<kBackward ? Conv::kIn : Conv::kOut>;
    static constexpr int kRows = kBackward ? Conv::kOut : Tile::kColumns;
    static constexpr int kElements = kBackward ? Tile::kColumns : Conv::kPaddedIn;
    static constexpr int kStride = kElements + kVector;
    static constexpr int kTotal = Conv::kTaps * kRows * kStride;

    /// w: [O,KH,KW,I].
    __device__ static void load(bf16* filters, const bf16* w, int part) {
        constexpr int kVectors = kElements / kVector, kTaps = Conv::kTaps;
        const int first_row = kBackward ? 0 : part * Tile::kColumns;
        const int first_element = kBackward ? part * Tile::kColumns : 0;
#pragma unroll 4
        for (int at = static_cast<int>(threadIdx.x); at < kTaps * kRows * kVectors; at += kNarrowThreads) {
            const int vector = at % kVectors, tap = at / kVectors % kTaps, row = at / kVectors / kTaps;
            const bf16* const from = w + ((first_row + row) * kTaps + tap) * Conv::kIn;
            bf16* const to = filters + (tap * kRows + row) * kStride;
            if constexpr (Conv::kIn == 3) {
                if (vector == 0) load_image_pixel(to, from, true);
            } else {
                detail::store_16_bytes(to + vector * kVector,
                                       detail::load_16_bytes(from + first_element + vector * kVector));
            }
        }
    }
};

/// Where a thread stands in the product: its warp's pixels and columns, and its own in each 16x8 tile.
template <int kOuter>
struct NarrowPlace {
    using Tile = NarrowTile<kOuter>;
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

/// The product of a strip. kParity: with stride 2, which of the four pixels of x that a pixel of y stands for
/// (2 * row + column); each has taps of its own.
template <typename Conv, bool kBackward>
class NarrowProduct {
  public:
    static constexpr int kInner = kBackward ? Conv::kOut : Conv::kPaddedIn,
                         kOuter = kBackward ? Conv::kIn : Conv::kOut;
    using Tile = NarrowTile<kOuter>;
    using Filters = NarrowFilters<Conv, kBackward>;

    __device__ NarrowProduct(const bf16* pixels, const bf16* filters, const Strips& strips, int wide)
        : wide_(wide) {
        constexpr int kStep = kBackward ? 1 : Conv::kStride;
        const NarrowPlace<kOuter> place;
        const int lane = place.lane, last = strips.rows * strips.width - 1;
#pragma unroll
        for (int m = 0; m < Tile::kRowTiles; ++m) {
            const int wanted = place.first_pixel + 16 * m + lane % 16, pixel = wanted < last ? wanted : last;
            left_[m] = pixels +
                       (pixel / strips.width * kStep * wide + pixel % strips.width * kStep) * kPixelStride +
                       lane / 16 * 8;
        }
        // Rows of the matrices in memory: columns of the product forward, its inner index backward.
        const int upper = lane / 16 * 8, middle = lane / 8 % 2 * 8, row = lane % 8;
        right_ = filters + (kBackward ? (middle + row) * Filters::kStride + place.first_column + upper
                                      : (place.first_column + upper + row) * Filters::kStride + middle);
    }

    /// Whether any tap leads to such pixels of x.
    template <int kParity>
    static constexpr bool has_taps() {
        for (int tap = 0; tap < Conv::kTaps; ++tap)
            if (is_tap<kParity>(tap)) return true;
        return false;
    }
    /// sums += the product; for pixels behind the strip's end something of no meaning.
    template <int kParity = 0>
    __device__ void add_to(NarrowSums<kOuter>& sums) const {
#pragma unroll
        for (int tap = 0; tap < Conv::kTaps; ++tap)
            if (is_tap<kParity>(tap)) add_tap(sums, tap, shift<kParity>(tap));
    }

  private:
    static constexpr int kPixelStride = kInner + kVector;

    // Along one axis, forward: y[p] takes x[p * stride + t - pad]. Backward: x[stride * a + parity] takes
    // y[a + (parity + pad - t) / stride], where that divides.
    static constexpr bool is_on_axis(int parity, int t) {
        return !kBackward || (parity + Conv::kPad - t) % Conv::kStride == 0;
    }
    static constexpr int along_axis(int parity, int t) {
        return kBackward ? (parity + Conv::kPad - t) / Conv::kStride + kWindowBefore<Conv, true> : t;
    }
    template <int kParity>
    static constexpr bool is_tap(int tap) {
        return is_on_axis(kParity / 2, tap / Conv::kFilter) && is_on_axis(kParity % 2, tap % Conv::kFilter);
    }
    template <int kParity>
    __device__ int shift(int tap) const {
        return (along_axis(kParity / 2, tap / Conv::kFilter) * wide_ +
                along_axis(kParity % 2, tap % Conv::kFilter)) *
               kPixelStride;
    }

    __device__ void add_tap(NarrowSums<kOuter>& sums, int tap, int shift) const {
#pragma unroll
        for (int k = 0; k < kInner; k += 16) {
            std::uint32_t a[Tile::kRowTiles][4];
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m) load_matrices<false>(a[m], left_[m] + shift + k);
#pragma unroll
            for (int n = 0; n < Tile::kColumnTiles; n += 2) {
                std::uint32_t b[4];
                const int row = tap * Filters::kRows + (kBackward ? k : 8 * n);
                load_matrices<kBackward>(b, right_ + row * Filters::kStride + (kBackward ? 8 * n : k));
#pragma unroll
                for (int m = 0; m < Tile::kRowTiles; ++m) {
                    multiply_add(sums[m][n], a[m], b[0], b[1]);
                    multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    const bf16 *left_[Tile::kRowTiles], *right_;
    int wide_;
};

}  // namespace qstep::cuda

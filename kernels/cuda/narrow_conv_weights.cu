// The weight gradient of a narrow convolution. For one tap it is a matrix product over pixels,
// dy^T [channels, pixels] * x shifted by the tap [pixels, channels]; both lie pixel by pixel, and ldmatrix
// transposes them on the way. Blocks share the strips of an image (narrow_conv.cuh) and, with 32 channels or
// more, the filter's rows and 32 channels of dy, so that a block's sums fit its registers; strips are fetched
// while earlier ones are multiplied. A block's warps share pixels, and are added up in shared memory. What
// blocks have summed over their strips are parts of the gradient: adding them here would leave the end of
// each launch to a few blocks; collect_weight_gradients() adds the parts of all layers at once.
//
// Bytes and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements of x): x and dy 8.4 MB, 128 parts 1.2 MB, 2.2
// us. [128,16,16,32]: x and dy read for each of 3 filter rows 12.6 MB, 44 parts 1.6 MB, 3.3 us; [128,8,8,64]:
// x six times and dy three times 9.4 MB, 22 parts 3.2 MB, 2.9 us. Operations 0.6 G each, as in the forward
// pass.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/device/async_copy.cuh"
#include "kernels/cuda/device/map.cuh"
#include "kernels/cuda/device/narrow_conv.cuh"
#include "kernels/cuda/narrow_conv.h"

namespace qstep::cuda {

namespace {

template <int kChannels>
struct WeightsTile {
    static constexpr int kPixels = NarrowTile<kChannels>::kPixels, kStride = NarrowTile<kChannels>::kStride;
    static constexpr int kParts = kChannels == 16 ? 128 : kChannels == 32 ? 44 : 22;
    static constexpr int kTapRows = kChannels == 16 ? 3 : 1;          // of a filter, a block
    static constexpr int kOutputs = kChannels < 32 ? kChannels : 32;  // channels of dy, a block
    static constexpr int kGroups = 3 / kTapRows * (kChannels / kOutputs);
    static constexpr int kColumns = 3 * kTapRows * kChannels;  // of the product: taps and channels of x
    static constexpr int kPairs = kColumns / 16;               // of 16x8 tiles
    static constexpr int kWarpPairs = kChannels == 16 ? 9 : 3;
    static constexpr int kPairGroups = kPairs / kWarpPairs;
    static constexpr int kPixelGroups = kNarrowThreads / 32 / kPairGroups;
    static constexpr int kSteps = kPixels / 16 / kPixelGroups;  // of 16 pixels, a warp and strip
    static constexpr int kRowTiles = kOutputs / 16;
    static constexpr int kStages = kChannels == 16 ? 2 : 4;  // strips in shared memory
    static constexpr int kGradientStride = kOutputs + kVector;
    static constexpr int kSumStride = kColumns + 8;  // floats; two rows of a warp's stores share no bank

    /// Elements of one stage: pixels of x, then those of dy.
    __host__ __device__ static int x_elements(const Strips& strips) {
        return (strips.rows + kTapRows - 1) * strips.wide() * kStride;
    }
    __host__ __device__ static int stage_elements(const Strips& strips) {
        return x_elements(strips) + kPixels * kGradientStride;
    }
};

/// What a block works on.
struct Share {
    int part, tap_row, output;  // its first row of filters and channel of dy
    template <typename Tile>
    __device__ static Share of() {
        const int group = static_cast<int>(blockIdx.x) % Tile::kGroups;
        constexpr int kRowGroups = 3 / Tile::kTapRows;
        return {static_cast<int>(blockIdx.x) / Tile::kGroups, group % kRowGroups * Tile::kTapRows,
                group / kRowGroups * Tile::kOutputs};
    }
};

// Begins to copy a strip of x, with the border that the block's taps need, and of dy; dy is zero behind its
// end.
template <int kChannels>
__device__ void fetch_strip(bf16* stage, const Strips& strips, int strip, const Share& share, const bf16* x,
                            const bf16* dy) {
    using Tile = WeightsTile<kChannels>;
    constexpr int kVectors = kChannels / kVector, kGradientVectors = Tile::kOutputs / kVector;
    const int first_row = strip % strips.of_image * strips.rows - 1 + share.tap_row, wide = strips.wide();
    const std::int64_t image = static_cast<std::int64_t>(strip / strips.of_image) * strips.height;
    const int end = (strips.rows + Tile::kTapRows - 1) * wide * kVectors;
    for (int at = static_cast<int>(threadIdx.x); at < end; at += kNarrowThreads) {
        const int pixel = at / kVectors, channel = at % kVectors * kVector;
        const int row = first_row + pixel / wide, column = pixel % wide - 1;
        const bool inside = row >= 0 && row < strips.height && column >= 0 && column < strips.width;
        const std::int64_t element = ((image + row) * strips.width + column) * kChannels + channel;
        copy_16_bytes_async(stage + pixel * Tile::kStride + channel, x + (inside ? element : 0), inside);
    }
    bf16* const gradients = stage + Tile::x_elements(strips);
    const bf16* const from = dy + strips.first_pixel(strip) * kChannels + share.output;
    const int pixels = strips.pixels_of(strip);
    for (int at = static_cast<int>(threadIdx.x); at < Tile::kPixels * kGradientVectors;
         at += kNarrowThreads) {
        const int pixel = at / kGradientVectors, channel = at % kGradientVectors * kVector;
        const bool inside = pixel < pixels;
        copy_16_bytes_async(gradients + pixel * Tile::kGradientStride + channel,
                            from + (inside ? pixel * kChannels + channel : 0), inside);
    }
}

template <int kChannels>
using WeightSums = float[WeightsTile<kChannels>::kRowTiles][2 * WeightsTile<kChannels>::kWarpPairs][4];

// A warp's share of the product: the same pixels of every strip and the same columns.
template <int kChannels>
struct WeightsPlace {
    using Tile = WeightsTile<kChannels>;
    int lane, pixel_group, first_pair;
    int left[Tile::kSteps], right[Tile::kSteps];  // where its rows of the matrices lie, in dy and in x

    __device__ explicit WeightsPlace(const Strips& strips) {
        const int warp = static_cast<int>(threadIdx.x) / 32;
        lane = static_cast<int>(threadIdx.x) % 32;
        pixel_group = warp / Tile::kPairGroups;
        first_pair = warp % Tile::kPairGroups * Tile::kWarpPairs;
        const int upper = lane / 16 * 8, middle = lane / 8 % 2 * 8, row = lane % 8;
        const int last = strips.rows * strips.width - 1;
#pragma unroll
        for (int s = 0; s < Tile::kSteps; ++s) {
            const int first = (pixel_group * Tile::kSteps + s) * 16;
            left[s] = (first + upper + row) * Tile::kGradientStride + middle;
            // Behind the strip's end dy is zero, whatever x is; but it must be a number.
            const int pixel = first + middle + row < last ? first + middle + row : last;
            right[s] = (pixel / strips.width * strips.wide() + pixel % strips.width) * Tile::kStride + upper;
        }
    }
    /// From a pixel to what the pair's tap and channels make of it.
    __device__ int shift(const Strips& strips, int pair) const {
        const int column = 16 * (first_pair + pair), tap = column / kChannels;
        return (tap / 3 * strips.wide() + tap % 3) * Tile::kStride + column % kChannels;
    }
};

template <int kChannels>
__device__ void add_strip(WeightSums<kChannels>& sums, const bf16* stage, const Strips& strips,
                          const WeightsPlace<kChannels>& place) {
    using Tile = WeightsTile<kChannels>;
    const bf16* gradients = stage + Tile::x_elements(strips);
#pragma unroll
    for (int s = 0; s < Tile::kSteps; ++s) {
        std::uint32_t a[Tile::kRowTiles][4];
#pragma unroll
        for (int m = 0; m < Tile::kRowTiles; ++m)
            load_matrices<true>(a[m], gradients + place.left[s] + 16 * m);
#pragma unroll
        for (int pair = 0; pair < Tile::kWarpPairs; ++pair) {
            std::uint32_t b[4];
            load_matrices<true>(b, stage + place.right[s] + place.shift(strips, pair));
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m) {
                multiply_add(sums[m][2 * pair], a[m], b[0], b[1]);
                multiply_add(sums[m][2 * pair + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Adds up the block's warps and writes (or adds to) its part of the gradient.
template <int kChannels, bool kAdd>
__device__ void store_part(float* parts, const WeightSums<kChannels>& sums, float* shared, const Share& share,
                           const WeightsPlace<kChannels>& place) {
    using Tile = WeightsTile<kChannels>;
    const int row = place.lane / 4, column = 16 * place.first_pair + 2 * (place.lane % 4);
    float* const own = shared + place.pixel_group * Tile::kOutputs * Tile::kSumStride;
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < 2 * Tile::kWarpPairs; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float* const to = own + (16 * m + 8 * half + row) * Tile::kSumStride + 8 * n + column;
                to[0] = sums[m][n][2 * half];
                to[1] = sums[m][n][2 * half + 1];
            }
    __syncthreads();
    float* const part = parts + static_cast<std::int64_t>(share.part) * kChannels * kTaps * kChannels +
                        (share.output * kTaps + 3 * share.tap_row) * kChannels;
    for (int at = static_cast<int>(threadIdx.x); at < Tile::kOutputs * Tile::kColumns; at += kNarrowThreads) {
        const int output = at / Tile::kColumns, of_row = at % Tile::kColumns;
        float* const to = part + output * kTaps * kChannels + of_row;
        float sum = kAdd ? *to : 0.0f;
#pragma unroll
        for (int g = 0; g < Tile::kPixelGroups; ++g)
            sum += shared[(g * Tile::kOutputs + output) * Tile::kSumStride + of_row];
        *to = sum;
    }
}

template <int kChannels, bool kAdd>
__global__ void __launch_bounds__(kNarrowThreads)
    backward_weights_kernel(Strips strips, int count, float* parts, const bf16* dy, const bf16* x) {
    using Tile = WeightsTile<kChannels>;
    auto* stages = dynamic_shared<bf16>();
    const Share share = Share::of<Tile>();
    const WeightsPlace<kChannels> place(strips);
    const int stage_elements = Tile::stage_elements(strips);
    const auto fetch = [&](int turn) {
        const int strip = share.part + turn * Tile::kParts;
        if (strip < count)
            fetch_strip<kChannels>(stages + turn % Tile::kStages * stage_elements, strips, strip, share, x,
                                   dy);
        end_copy_group();
    };
    for (int turn = 0; turn < Tile::kStages - 1; ++turn) fetch(turn);
    WeightSums<kChannels> sums = {};
    for (int turn = 0; share.part + turn * Tile::kParts < count; ++turn) {
        wait_for_copies<Tile::kStages - 2>();
        __syncthreads();
        fetch(turn + Tile::kStages - 1);
        add_strip<kChannels>(sums, stages + turn % Tile::kStages * stage_elements, strips, place);
    }
    __syncthreads();
    store_part<kChannels, kAdd>(parts, sums, reinterpret_cast<float*>(stages), share, place);
}

/// A gradient in one piece as the first of several parts, whose others are zero.
struct FirstPart {
    float* parts;
    const bf16* gradient;
    std::int64_t elements;  // of a part
    bool add;               // others stay as they are

    template <int kCount>
    struct Inputs {
        float old[kCount], gradient[kCount];
    };
    static constexpr int kVector = kVectorOf<bf16>;
    __device__ void begin() {}
    template <int kCount>
    __device__ Inputs<kCount> load(std::int64_t at) const {
        Inputs<kCount> inputs = {};
        if (add) load_floats(inputs.old, parts + at);
        if (at < elements) load_floats(inputs.gradient, gradient + at);
        return inputs;
    }
    template <int kCount>
    __device__ void store(std::int64_t at, const Inputs<kCount>& inputs) const {
        float sum[kCount];
#pragma unroll
        for (int v = 0; v < kCount; ++v) sum[v] = inputs.old[v] + inputs.gradient[v];
        store_floats(parts + at, sum);
    }
};

}  // namespace

std::int64_t narrow_conv_parts(const Shape& filters, DType dtype) {
    const bool narrow = dtype == DType::bf16 && filters.rank() == 4 && filters[0] == filters[1] &&
                        filters[2] == 3 && filters[3] == 3;
    return narrow && filters[0] == 16   ? WeightsTile<16>::kParts
           : narrow && filters[0] == 32 ? WeightsTile<32>::kParts
           : narrow && filters[0] == 64 ? WeightsTile<64>::kParts
                                        : 1;
}

void narrow_conv_backward_weights(const Context& context, const Conv2dShape& shape, const Tensor& parts,
                                  bool add, const Tensor& dy, const Tensor& x) {
    check_tensor(parts, "the parts of dw", DType::f32,
                 {narrow_conv_parts(shape.w(), x.dtype) * shape.out_channels, 3, 3, shape.in_channels});
    check_narrow_operands(shape, x, dy);
    with_narrow_channels(shape, [&](auto channels) {
        using Tile = WeightsTile<channels()>;
        const Strips strips = divide_rows<channels()>(shape);
        const auto kernel =
            add ? backward_weights_kernel<channels(), true> : backward_weights_kernel<channels(), false>;
        const std::size_t stages = static_cast<std::size_t>(Tile::kStages * Tile::stage_elements(strips)) *
                                   sizeof(bf16),
                          sums = static_cast<std::size_t>(Tile::kPixelGroups * Tile::kOutputs *
                                                          Tile::kSumStride) *
                                 sizeof(float);
        launch(context, "narrow_conv_backward_weights", kernel,
               {Tile::kParts * Tile::kGroups, kNarrowThreads, std::max(stages, sums)}, strips, strips.count(),
               parts.as<float>(), dy.as<bf16>(), x.as<bf16>());
    });
}

void gradient_as_parts(const Context& context, const Tensor& parts, bool add, const Tensor& gradient) {
    const FirstPart map{parts.as<float>(), gradient.as<bf16>(), gradient.count(), add};
    launch_map(context, "gradient_as_parts", map, parts.count(),
               gradient.count() % FirstPart::kVector == 0 && aligned_for_vectors(map.parts, map.gradient));
}

}  // namespace qstep::cuda

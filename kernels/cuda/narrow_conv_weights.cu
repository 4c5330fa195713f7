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

template <typename Conv>
struct WeightsTile {
    static constexpr int kPixels = NarrowTile<Conv::kOut>::kPixels;
    static constexpr int kOutputs = Conv::kOut < 32 ? Conv::kOut : 32;     // channels of y, a block
    static constexpr int kTapRows = Conv::kOut == 16 ? Conv::kFilter : 1;  // of the filter, a block
    static constexpr int kRowGroups = Conv::kFilter / kTapRows;
    static constexpr int kGroups = kRowGroups * (Conv::kOut / kOutputs);  // of blocks with the same strips
    static constexpr int kParts = Conv::kOut == 16 ? 128 : 132 / kGroups;
    static constexpr int kColumns = kTapRows * Conv::kFilter * Conv::kPaddedIn;  // of the product
    static constexpr int kPairs = kColumns / 16;                                 // of 16x8 tiles
    static constexpr int kWarpPairs = Conv::kOut == 16 ? 9 : Conv::kFilter;
    static constexpr int kPairGroups = kPairs / kWarpPairs;
    static constexpr int kPixelGroups = kNarrowThreads / 32 / kPairGroups;
    static constexpr int kSteps = kPixels / 16 / kPixelGroups;  // of 16 pixels, a warp and strip
    static constexpr int kRowTiles = kOutputs / 16;
    static constexpr int kStages = Conv::kOut == 16 ? 2 : 4;  // strips in shared memory
    static constexpr int kPixelStride = Conv::kPaddedIn + kVector, kGradientStride = kOutputs + kVector;
    static constexpr int kSumStride = kColumns + 8;  // floats; two rows of a warp's stores share no bank
    static_assert(kTapRows == 1 || Conv::kStride == 1, "rows lie one behind the other for several tap rows");

    /// Of x: with one row of taps just the rows that it reads.
    static Window window(const Strips& strips, const Conv2dShape& shape) {
        return {strips.rows + kTapRows - 1, (strips.width - 1) * Conv::kStride + Conv::kFilter,
                static_cast<int>(shape.height), static_cast<int>(shape.width), Conv::kStride};
    }
    /// Elements of one stage: pixels of x, then those of dy.
    __host__ __device__ static int x_elements(const Window& window) { return window.pixels() * kPixelStride; }
    __host__ __device__ static int stage_elements(const Window& window) {
        return x_elements(window) + kPixels * kGradientStride;
    }
};

/// What a block works on.
struct Share {
    int part, tap_row, output;  // its first row of filters and channel of y
    template <typename Tile>
    __device__ static Share of() {
        const int group = static_cast<int>(blockIdx.x) % Tile::kGroups;
        return {static_cast<int>(blockIdx.x) / Tile::kGroups, group % Tile::kRowGroups * Tile::kTapRows,
                group / Tile::kRowGroups * Tile::kOutputs};
    }
};

// Begins to copy a strip of dy, zero behind its end, and its window of x.
template <typename Conv>
__device__ void fetch_strip(bf16* stage, const Strips& strips, const Window& window, int strip,
                            const Share& share, const bf16* x, const bf16* dy) {
    using Tile = WeightsTile<Conv>;
    constexpr int kVectors = Conv::kIn / kVector, kGradientVectors = Tile::kOutputs / kVector;
    const int first_row = strips.first_row(strip) * Conv::kStride - Conv::kPad + share.tap_row;
    const std::int64_t image = strips.image(strip);
    if constexpr (Conv::kIn == 3) {
        load_image_window(stage, window, strips.image(strip), first_row, -Conv::kPad, x);
    } else {
        for (int at = static_cast<int>(threadIdx.x); at < window.pixels() * kVectors; at += kNarrowThreads) {
            const int pixel = at / kVectors, channel = at % kVectors * kVector;
            const int row = first_row + pixel / window.wide * window.spacing;
            const int column = pixel % window.wide - Conv::kPad;
            const bool inside = row >= 0 && row < window.height && column >= 0 && column < window.width;
            const std::int64_t element =
                ((image * window.height + row) * window.width + column) * Conv::kIn + channel;
            copy_16_bytes_async(stage + pixel * Tile::kPixelStride + channel, x + (inside ? element : 0),
                                inside);
        }
    }
    bf16* const gradients = stage + Tile::x_elements(window);
    const std::int64_t first_pixel = (image * strips.height + strips.first_row(strip)) * strips.width;
    const bf16* const from = dy + first_pixel * Conv::kOut + share.output;
    const int pixels = strips.pixels_of(strip);
    for (int at = static_cast<int>(threadIdx.x); at < Tile::kPixels * kGradientVectors;
         at += kNarrowThreads) {
        const int pixel = at / kGradientVectors, channel = at % kGradientVectors * kVector;
        const bool inside = pixel < pixels;
        copy_16_bytes_async(gradients + pixel * Tile::kGradientStride + channel,
                            from + (inside ? pixel * Conv::kOut + channel : 0), inside);
    }
}

template <typename Conv>
using WeightSums = float[WeightsTile<Conv>::kRowTiles][2 * WeightsTile<Conv>::kWarpPairs][4];

// A warp's share of the product: the same pixels of every strip and the same columns.
template <typename Conv>
struct WeightsPlace {
    using Tile = WeightsTile<Conv>;
    int lane, pixel_group, first_pair;
    int left[Tile::kSteps], right[Tile::kSteps];  // where its rows of the matrices lie, in dy and in x

    __device__ WeightsPlace(const Strips& strips, int wide) {
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
            // Behind the strip's end, where dy is zero, some pixel of it.
            const int pixel = first + middle + row < last ? first + middle + row : last;
            right[s] =
                (pixel / strips.width * wide + pixel % strips.width * Conv::kStride) * Tile::kPixelStride +
                upper;
        }
    }
    /// From a pixel to what the pair's tap and channels make of it.
    __device__ int shift(int wide, int pair) const {
        const int column = 16 * (first_pair + pair), tap = column / Conv::kPaddedIn;
        return (tap / Conv::kFilter * wide + tap % Conv::kFilter) * Tile::kPixelStride +
               column % Conv::kPaddedIn;
    }
};

template <typename Conv>
__device__ void add_strip(WeightSums<Conv>& sums, const bf16* stage, const Window& window,
                          const WeightsPlace<Conv>& place) {
    using Tile = WeightsTile<Conv>;
    const bf16* gradients = stage + Tile::x_elements(window);
#pragma unroll
    for (int s = 0; s < Tile::kSteps; ++s) {
        std::uint32_t a[Tile::kRowTiles][4];
#pragma unroll
        for (int m = 0; m < Tile::kRowTiles; ++m)
            load_matrices<true>(a[m], gradients + place.left[s] + 16 * m);
#pragma unroll
        for (int pair = 0; pair < Tile::kWarpPairs; ++pair) {
            std::uint32_t b[4];
            load_matrices<true>(b, stage + place.right[s] + place.shift(window.wide, pair));
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m) {
                multiply_add(sums[m][2 * pair], a[m], b[0], b[1]);
                multiply_add(sums[m][2 * pair + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Adds up the block's warps and writes (or adds to) its part of the gradient.
template <typename Conv, bool kAdd>
__device__ void store_part(float* parts, const WeightSums<Conv>& sums, float* shared, const Share& share,
                           const WeightsPlace<Conv>& place) {
    using Tile = WeightsTile<Conv>;
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
    constexpr int kFilterElements = Conv::kTaps * Conv::kIn;
    constexpr int kElements = Tile::kTapRows * Conv::kFilter * Conv::kIn;  // of them, the block's
    float* const part = parts + (share.part * Conv::kOut + share.output) * kFilterElements +
                        share.tap_row * Conv::kFilter * Conv::kIn;
    for (int at = static_cast<int>(threadIdx.x); at < Tile::kOutputs * kElements; at += kNarrowThreads) {
        const int output = at / kElements, element = at % kElements;
        const int of_row = element / Conv::kIn * Conv::kPaddedIn + element % Conv::kIn;
        float* const to = part + output * kFilterElements + element;
        float sum = kAdd ? *to : 0.0f;
#pragma unroll
        for (int g = 0; g < Tile::kPixelGroups; ++g)
            sum += shared[(g * Tile::kOutputs + output) * Tile::kSumStride + of_row];
        *to = sum;
    }
}

template <typename Conv, bool kAdd>
__global__ void __launch_bounds__(kNarrowThreads)
    backward_weights_kernel(Strips strips, Window window, int count, float* parts, const bf16* dy,
                            const bf16* x) {
    using Tile = WeightsTile<Conv>;
    auto* stages = dynamic_shared<bf16>();
    const Share share = Share::of<Tile>();
    const WeightsPlace<Conv> place(strips, window.wide);
    const int stage_elements = Tile::stage_elements(window);
    wait_for_predecessor(place.left[0] | place.right[0]);
    const auto fetch = [&](int turn) {
        const int strip = share.part + turn * Tile::kParts;
        if (strip < count)
            fetch_strip<Conv>(stages + turn % Tile::kStages * stage_elements, strips, window, strip, share, x,
                              dy);
        end_copy_group();
    };
    for (int turn = 0; turn < Tile::kStages - 1; ++turn) fetch(turn);
    WeightSums<Conv> sums = {};
    for (int turn = 0; share.part + turn * Tile::kParts < count; ++turn) {
        wait_for_copies<Tile::kStages - 2>();
        __syncthreads();
        fetch(turn + Tile::kStages - 1);
        add_strip<Conv>(sums, stages + turn % Tile::kStages * stage_elements, window, place);
    }
    __syncthreads();
    store_part<Conv, kAdd>(parts, sums, reinterpret_cast<float*>(stages), share, place);
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
    std::int64_t parts = 1;
    if (dtype != DType::bf16 || filters.rank() != 4) return parts;
    // The stride is not the filter's business: where two convolutions share a filter's shape, they share
    // this.
    for (const std::int64_t stride : {1, 2})
        with_narrow_conv({1, 1, 1, filters[1], filters[0], filters[2], filters[3], stride, filters[2] / 2},
                         [&]<typename Conv>(Conv) { parts = WeightsTile<Conv>::kParts; });
    return parts;
}

void narrow_conv_backward_weights(const Context& context, const Conv2dShape& shape, const Tensor& parts,
                                  bool add, const Tensor& dy, const Tensor& x) {
    check_narrow_operands(shape, x, dy);
    check_tensor(parts, "the parts of dw", DType::f32,
                 {narrow_conv_parts(shape.w(), x.dtype) * shape.out_channels, shape.kernel_h, shape.kernel_w,
                  shape.in_channels});
    with_narrow_conv(shape, [&]<typename Conv>(Conv) {
        using Tile = WeightsTile<Conv>;
        const Strips strips(shape.batch, shape.out_height(), shape.out_width(), Tile::kPixels);
        const Window window = Tile::window(strips, shape);
        const int stages = Tile::kStages * Tile::stage_elements(window),
                  sums = Tile::kPixelGroups * Tile::kOutputs * Tile::kSumStride;
        launch(context, "narrow_conv_backward_weights",
               add ? backward_weights_kernel<Conv, true> : backward_weights_kernel<Conv, false>,
               {Tile::kParts * Tile::kGroups, kNarrowThreads,
                std::max(static_cast<std::size_t>(stages) * sizeof(bf16),
                         static_cast<std::size_t>(sums) * sizeof(float))},
               strips, window, strips.count(), parts.as<float>(), dy.as<bf16>(), x.as<bf16>());
    });
}

void gradient_as_parts(const Context& context, const Tensor& parts, bool add, const Tensor& gradient) {
    const FirstPart map{parts.as<float>(), gradient.as<bf16>(), gradient.count(), add};
    launch_map(context, "gradient_as_parts", map, parts.count(),
               gradient.count() % FirstPart::kVector == 0 && aligned_for_vectors(map.parts, map.gradient));
}

}  // namespace qstep::cuda

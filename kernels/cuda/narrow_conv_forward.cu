// The convolution, of pixels that are normalised on the way where the layer before left that to this one,
// then mean and squared deviations of each channel from the sums while they are in registers; the last block
// of a group of channels adds the blocks up.
//
// Bytes of an element and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements): 2 read, 2 written, 2.0 us
// (with the border read again 2.1). Operations: 288 an element, 0.6 G, 0.8 us on matrix units at 790 TFLOP/s.
// The second-level cache holds these tensors, so latency decides: of the launch, of loading one strip, of 9
// to 36 products in a row, and of the last block.
#include "kernels/batch_norm_checks.h"
#include "kernels/cuda/arrival_counters.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/device/batch_norm.cuh"
#include "kernels/cuda/device/narrow_result.cuh"

namespace qstep::cuda {

namespace {

// Of y, in pixels: a strip of the narrowest image then fits into the shared memory of every GPU.
constexpr std::int64_t kLongestSide = 64;

struct PlainPixels {
    const bf16* x;
    using Inputs = uint4;
    __device__ uint4 load(std::int64_t element) const { return detail::load_16_bytes(x + element); }
    __device__ uint4 value(const uint4& bytes) const { return bytes; }
    __device__ void keep(std::int64_t, const uint4&) const {}
};

// Batch normalisation, residual and ReLU of the layer before on the way.
struct NormalisedPixels {
    const bf16 *y, *residual;
    bf16* x;  // null in blocks that need not write it
    bool relu;
    float scale[kVector], shift[kVector];
    struct Inputs {
        uint4 y, residual;
    };

    __device__ NormalisedPixels(const BatchNormForward<bf16>& data, bf16* to, bool relu_, int channel)
        : y(data.y), residual(data.residual), x(to), relu(relu_) {
        forward_coefficients(scale, shift, data, channel);
    }
    __device__ Inputs load(std::int64_t element) const {
        return {detail::load_16_bytes(y + element),
                residual != nullptr ? detail::load_16_bytes(residual + element) : uint4{0, 0, 0, 0}};
    }
    __device__ uint4 value(const Inputs& inputs) const {
        float z[kVector], added[kVector];
        detail::unpack_16_bytes(z, inputs.y, bf16{});
        detail::unpack_16_bytes(added, inputs.residual, bf16{});
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
            z[v] = fmaf(scale[v], z[v], shift[v]);
            if (residual != nullptr) z[v] += added[v];
            if (relu) z[v] = rectified(z[v]);
        }
        return detail::pack_16_bytes(z, bf16{});
    }
    __device__ void keep(std::int64_t element, const uint4& bytes) const {
        if (x != nullptr) detail::store_16_bytes_globally(x + element, bytes);
    }
};

// Sum over the lanes that have the same columns, in each of them.
__device__ float column_sum(float value) {
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
}

// The block's mean and squared deviations of each of its channels, from its threads' rounded sums. Warps have
// up to 64 pixels, added in float32 about their own mean, and are combined in double.
template <int kOuter>
__device__ void block_moments(const NarrowSums<kOuter>& sums, int pixels, const Partials& partials,
                              const SharedSums& shared, int part, int blocks, int block) {
    using Tile = NarrowTile<kOuter>;
    QSTEP_SHARED float of_warps[2][Tile::kPixelWarps][Tile::kColumns];
    const NarrowPlace<kOuter> place;
    const auto pixels_of = [&](int first) {
        const int left = pixels - first;
        return left < 0 ? 0 : left < Tile::kWarpPixels ? left : Tile::kWarpPixels;
    };
    const int own = pixels_of(place.first_pixel);
#pragma unroll
    for (int n = 0; n < Tile::kColumnTiles; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            float sum = 0, deviations = 0;
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    if (place.pixel(m, half) < pixels) sum += sums[m][n][2 * half + c];
            sum = column_sum(sum);
            const float mean = own > 0 ? sum / static_cast<float>(own) : 0.0f;
#pragma unroll
            for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const float offset = sums[m][n][2 * half + c] - mean;
                    if (place.pixel(m, half) < pixels) deviations = fmaf(offset, offset, deviations);
                }
            deviations = column_sum(deviations);
            if (place.lane < 4) {
                of_warps[0][place.first_pixel / Tile::kWarpPixels][place.column(n) + c] = mean;
                of_warps[1][place.first_pixel / Tile::kWarpPixels][place.column(n) + c] = deviations;
            }
        }
    __syncthreads();
    if (shared.segment != 0) return;
    const double reference = static_cast<double>(of_warps[0][0][shared.output]);
    double sum = 0, square_sum = 0;
    for (int w = 0; w < Tile::kPixelWarps; ++w) {
        const double rows = pixels_of(w * Tile::kWarpPixels);
        const double offset = static_cast<double>(of_warps[0][w][shared.output]) - reference;
        sum += rows * offset;
        square_sum += static_cast<double>(of_warps[1][w][shared.output]) + rows * offset * offset;
    }
    const double offset = sum / pixels;
    const std::int64_t at = partials.at(shared, part, blocks, block);
    partials.first[at] = reference + offset;
    partials.second[at] = square_sum - offset * sum;
}

template <typename Conv, bool kNormalise>
__global__ void __launch_bounds__(kNarrowThreads, 2)
    forward_kernel(Strips strips, Window window, int blocks, bf16* y, bf16* x, BatchNormForward<bf16> from,
                   bool relu, const bf16* w, Partials partials, int* arrived, StatisticsTargets to) {
    using Product = NarrowProduct<Conv, false>;
    using Tile = typename Product::Tile;
    auto* filters = dynamic_shared<bf16>();
    bf16* const pixels = filters + Product::Filters::kTotal;
    const int part = static_cast<int>(blockIdx.x) % Tile::kParts;
    const int strip = static_cast<int>(blockIdx.x) / Tile::kParts;
    const int first_row = strips.first_row(strip) * Conv::kStride - Conv::kPad;
    wait_for_predecessor(part | strip | first_row);
    Product::Filters::load(filters, w, part);
    if constexpr (Conv::kIn == 3) {
        load_image_window(pixels, window, strips.image(strip), first_row, -Conv::kPad, x);
    } else if constexpr (kNormalise) {
        const int channel = static_cast<int>(threadIdx.x) % (Conv::kIn / kVector) * kVector;
        load_window<Conv::kIn>(pixels, window, strips.image(strip), first_row, -Conv::kPad,
                               first_row + Conv::kPad, strips.rows * Conv::kStride,
                               NormalisedPixels(from, part == 0 ? x : nullptr, relu, channel));
    } else {
        load_window<Conv::kIn>(pixels, window, strips.image(strip), first_row, -Conv::kPad, 0, 0,
                               PlainPixels{x});
    }
    __syncthreads();
    NarrowSums<Conv::kOut> sums = {};
    Product(pixels, filters, strips, window.wide).add_to(sums);
    const int count = strips.pixels_of(strip);
    StoredAsIs as_is;
    store_sums<Conv::kOut>(y, NarrowTarget<1>(strips, strip, strips.height, strips.width, 0),
                           part * Tile::kColumns, sums, count, filters, as_is);
    const SharedSums shared(Tile::kColumns);
    block_moments<Conv::kOut>(sums, count, partials, shared, part, blocks, strip);
    if (!last_to_arrive(arrived + part, blocks)) return;
    const Moments moments =
        combine_moments(shared, partials, part, blocks, [&](int b) { return strips.pixels_of(b); });
    if (shared.segment == 0)
        write_statistics(to, part * Tile::kColumns + shared.output,
                         static_cast<double>(strips.images) * strips.height * strips.width, moments);
}

}  // namespace

bool is_narrow_conv(const Conv2dShape& shape, DType dtype) {
    return dtype == DType::bf16 && shape.out_width() <= kLongestSide && shape.out_height() <= kLongestSide &&
           with_narrow_conv(shape, [](auto) {});
}

std::size_t narrow_conv_bytes(const Conv2dShape& shape) {
    return sizeof(double) * 2 *
           static_cast<std::size_t>(std::max(partial_count<false>(shape), partial_count<true>(shape)));
}

void narrow_conv_forward(const Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                         const Normalisation* from, const Tensor& w, const BatchNormStats& stats,
                         const BatchNormParameters& parameters, void* workspace) {
    check_narrow_operands(shape, x, y, w);
    qstep::detail::check_running(stats, parameters);
    check_enough_rows(qstep::detail::checked_rows(y, stats));
    BatchNormForward<bf16> input{};
    if (from != nullptr) {
        qstep::detail::check_apply(x, from->y, from->residual, from->stats, from->parameters);
        QSTEP_CHECK(reads_a_layer(shape), "an image is to be normalised");
        QSTEP_CHECK(x.data != from->y.data && x.data != from->residual.data,
                    "blocks read y and the residual beside what others write to x");
        input = forward_inputs<bf16>(from->y, from->residual, from->stats, from->parameters);
        QSTEP_CHECK(
            aligned_for_vectors(input.y, input.residual, input.mean, input.inv_std, input.gamma, input.beta),
            "an operand of batch normalisation lies off a multiple of 16 bytes");
    }
    const Partials partials = partials_in<false>(workspace, shape);
    with_narrow_conv(shape, [&]<typename Conv>(Conv) {
        using Product = NarrowProduct<Conv, false>;
        const Strips strips = strips_of<Conv, false>(shape);
        const Window window = window_of<Conv, false>(strips, shape);
        // The sums are staged where filters and pixels lay.
        const int elements =
            std::max(Product::Filters::kTotal + window.pixels() * (Conv::kPaddedIn + kVector),
                     staged_elements<Conv::kOut>(strips.rows * strips.width));
        auto kernel = forward_kernel<Conv, false>;
        if constexpr (Conv::kIn > 3)
            if (from != nullptr) kernel = forward_kernel<Conv, true>;
        launch(context, "narrow_conv_forward", kernel,
               {static_cast<std::int64_t>(strips.count()) * Product::Tile::kParts, kNarrowThreads,
                static_cast<std::size_t>(elements) * sizeof(bf16)},
               strips, window, strips.count(), y.as<bf16>(), x.as<bf16>(), input,
               from != nullptr && from->relu, w.as<bf16>(), partials, arrival_counters(context),
               StatisticsTargets(stats, parameters));
    });
}

}  // namespace qstep::cuda

// Forward: convolution, then mean and squared deviations of each channel from the sums while they are in
// registers; the last block of a group of channels adds the blocks up. Backward: the batch normalisation's
// gradient is applied while pixels go into shared memory, and written out once for the weight gradient.
//
// Bytes of an element and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements): forward 2 read, 2
// written, 2.0 us (with the border read again 2.1); backward 4 read, 4 written, 3.9 us (4.2). Operations: 288
// an element, 0.6 G, 0.8 us on matrix units at 790 TFLOP/s. The second-level cache holds these tensors, so
// latency decides: of the launch, of loading one strip, of 9 to 36 products in a row, and of the last block.
#include "kernels/cuda/narrow_conv.h"

#include <algorithm>

#include "kernels/batch_norm_checks.h"
#include "kernels/cuda/arrival_counters.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/device/batch_norm.cuh"
#include "kernels/cuda/device/narrow_conv.cuh"

namespace qstep::cuda {

namespace {

// Reads plain values.
struct PlainPixels {
    const bf16* x;
    using Inputs = uint4;
    __device__ uint4 load(std::int64_t element) const { return detail::load_16_bytes(x + element); }
    __device__ uint4 value(const uint4& bytes) const { return bytes; }
    __device__ void keep(std::int64_t, const uint4&) const {}
};

// The second half of batch normalisation's backward on the way.
struct GradientPixels {
    const bf16 *dz, *y;
    bf16* dy;  // null in blocks that need not write it
    float a[kVector], b[kVector], c[kVector];
    struct Inputs {
        uint4 dz, y;
    };

    __device__ GradientPixels(const BatchNormBackward<bf16>& data, bf16* to, int channel)
        : dz(data.dz), y(data.y), dy(to) {
        backward_coefficients(a, b, c, data, channel);
    }
    __device__ Inputs load(std::int64_t element) const {
        return {detail::load_16_bytes(dz + element), detail::load_16_bytes(y + element)};
    }
    __device__ uint4 value(const Inputs& inputs) const {
        float gradient[kVector], output[kVector];
        detail::unpack_16_bytes(gradient, inputs.dz, bf16{});
        detail::unpack_16_bytes(output, inputs.y, bf16{});
#pragma unroll
        for (int v = 0; v < kVector; ++v) gradient[v] = fmaf(a[v], gradient[v], fmaf(b[v], output[v], c[v]));
        return detail::pack_16_bytes(gradient, bf16{});
    }
    __device__ void keep(std::int64_t element, const uint4& bytes) const {
        if (dy != nullptr) detail::store_16_bytes_globally(dy + element, bytes);
    }
};

template <int kChannels>
using Sums = float[NarrowTile<kChannels>::kRowTiles][NarrowTile<kChannels>::kColumnTiles][4];

// Sum over the lanes that have the same columns, in each of them.
__device__ float column_sum(float value) {
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
}

// Rounds the sums to bf16 and writes those of the strip's pixels to `to`, pixel by pixel kChannels apart; by
// way of shared memory (where the strip lay that nobody needs now), so that global memory gets 16 bytes at a
// time.
template <int kChannels>
__device__ void store_sums(bf16* to, Sums<kChannels>& sums, int pixels, bf16* staged) {
    using Tile = NarrowTile<kChannels>;
    constexpr int kStride = Tile::kColumns + kVector, kVectors = Tile::kColumns / kVector;
    const NarrowPlace<kChannels> place;
    __syncthreads();
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
    for (int at = static_cast<int>(threadIdx.x); at < pixels * kVectors; at += kNarrowThreads) {
        const int pixel = at / kVectors, channel = at % kVectors * kVector;
        detail::store_16_bytes_globally(to + static_cast<std::int64_t>(pixel) * kChannels + channel,
                                        detail::load_16_bytes(staged + pixel * kStride + channel));
    }
}

// sums += what lies where store_sums() will write.
template <int kChannels>
__device__ void add_stored(Sums<kChannels>& sums, const bf16* stored, int pixels) {
    using Tile = NarrowTile<kChannels>;
    const NarrowPlace<kChannels> place;
#pragma unroll
    for (int m = 0; m < Tile::kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < Tile::kColumnTiles; ++n)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int pixel = place.pixel(m, half);
                if (pixel >= pixels) continue;
                const std::uint32_t bits = detail::load_4_bytes(
                    stored + static_cast<std::int64_t>(pixel) * kChannels + place.column(n));
                sums[m][n][2 * half] += detail::float_of_bits(bits << 16);
                sums[m][n][2 * half + 1] += detail::float_of_bits(bits & 0xffff0000u);
            }
}

// The block's mean and squared deviations of each of its channels, from its threads' rounded sums. Warps have
// up to 64 pixels, added in float32 about their own mean, and are combined in double.
template <int kChannels>
__device__ void block_moments(const Sums<kChannels>& sums, int pixels, const Partials& partials,
                              const SharedSums& shared, int part, int blocks, int block) {
    using Tile = NarrowTile<kChannels>;
    QSTEP_SHARED float of_warps[2][Tile::kPixelWarps][Tile::kColumns];
    const NarrowPlace<kChannels> place;
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

template <int kChannels>
__global__ void __launch_bounds__(kNarrowThreads, 2)
    forward_kernel(Strips strips, int blocks, bf16* y, const bf16* x, const bf16* w, Partials partials,
                   int* arrived, StatisticsTargets to) {
    using Tile = NarrowTile<kChannels>;
    using Filters = NarrowFilters<kChannels, false>;
    auto* filters = dynamic_shared<bf16>();
    bf16* const pixels = filters + Filters::kTotal;
    const int part = static_cast<int>(blockIdx.x) % Tile::kParts,
              strip = static_cast<int>(blockIdx.x) / Tile::kParts;
    Filters::load(filters, w, part);
    load_strip<kChannels>(pixels, strips, strip, PlainPixels{x});
    __syncthreads();
    Sums<kChannels> sums = {};
    multiply_strip<kChannels, false>(sums, pixels, filters, strips);
    const int count = strips.pixels_of(strip);
    store_sums<kChannels>(y + strips.first_pixel(strip) * kChannels + part * Tile::kColumns, sums, count,
                          pixels);
    const SharedSums shared(Tile::kColumns);
    block_moments<kChannels>(sums, count, partials, shared, part, blocks, strip);
    if (!last_to_arrive(arrived + part, blocks)) return;
    const Moments moments =
        combine_moments(shared, partials, part, blocks, [&](int b) { return strips.pixels_of(b); });
    if (shared.segment == 0)
        write_statistics(to, part * Tile::kColumns + shared.output,
                         static_cast<double>(strips.images) * strips.height * strips.width, moments);
}

template <int kChannels, bool kAdd>
__global__ void __launch_bounds__(kNarrowThreads, 2)
    backward_data_kernel(Strips strips, bf16* dx, bf16* dy, BatchNormBackward<bf16> data, const bf16* w) {
    using Tile = NarrowTile<kChannels>;
    using Filters = NarrowFilters<kChannels, true>;
    auto* filters = dynamic_shared<bf16>();
    bf16* const pixels = filters + Filters::kTotal;
    const int part = static_cast<int>(blockIdx.x) % Tile::kParts;
    const int strip = static_cast<int>(blockIdx.x) / Tile::kParts;
    Filters::load(filters, w, part);
    const int channel = static_cast<int>(threadIdx.x) % (kChannels / kVector) * kVector;
    load_strip<kChannels>(pixels, strips, strip, GradientPixels(data, part == 0 ? dy : nullptr, channel));
    __syncthreads();
    Sums<kChannels> sums = {};
    multiply_strip<kChannels, true>(sums, pixels, filters, strips);
    const int count = strips.pixels_of(strip);
    bf16* const to = dx + strips.first_pixel(strip) * kChannels + part * Tile::kColumns;
    if constexpr (kAdd) add_stored<kChannels>(sums, to, count);
    store_sums<kChannels>(to, sums, count, pixels);
}

template <int kChannels, bool kBackward>
LaunchShape launch_shape(const Strips& strips) {
    const int elements = NarrowFilters<kChannels, kBackward>::kTotal +
                         strips.bordered_pixels() * NarrowTile<kChannels>::kStride;
    return {static_cast<std::int64_t>(strips.count()) * NarrowTile<kChannels>::kParts, kNarrowThreads,
            static_cast<std::size_t>(elements) * sizeof(bf16)};
}

std::int64_t partial_count(const Conv2dShape& shape) {
    return with_narrow_channels(shape, [&](auto channels) {
        return static_cast<std::int64_t>(divide_rows<channels()>(shape).count()) * channels();
    });
}

void check_filters(const Conv2dShape& shape, const Tensor& w) {
    check_tensor(w, "w", DType::bf16, {shape.out_channels, 3, 3, shape.in_channels});
    QSTEP_CHECK(aligned_for_vectors(w.as<bf16>()), "filters lie off a multiple of 16 bytes");
}

}  // namespace

std::size_t narrow_conv_bytes(const Conv2dShape& shape) {
    return 2 * static_cast<std::size_t>(partial_count(shape)) * sizeof(double);
}

void narrow_conv_forward(const Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                         const Tensor& w, const BatchNormStats& stats, const BatchNormParameters& parameters,
                         void* workspace) {
    check_narrow_operands(shape, x, y);
    check_filters(shape, w);
    qstep::detail::check_running(stats, parameters);
    check_enough_rows(qstep::detail::checked_rows(y, stats));
    auto* first = static_cast<double*>(workspace);
    const Partials partials{first, first + partial_count(shape)};
    with_narrow_channels(shape, [&](auto channels) {
        const Strips strips = divide_rows<channels()>(shape);
        launch(context, "narrow_conv_forward", forward_kernel<channels()>,
               launch_shape<channels(), false>(strips), strips, strips.count(), y.as<bf16>(), x.as<bf16>(),
               w.as<bf16>(), partials, arrival_counters(context), StatisticsTargets(stats, parameters));
    });
}

void narrow_conv_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                               const Tensor& dy, const Tensor& dz, const Tensor& y, const Tensor& w,
                               const Tensor& dgamma, const Tensor& dbeta, const BatchNormStats& stats,
                               const Tensor& gamma) {
    check_narrow_operands(shape, dx, dy);
    check_filters(shape, w);
    const std::int64_t rows = qstep::detail::check_backward_apply(dy, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(dy.data != dz.data, "blocks read dz beside what others write to dy");
    const BatchNormBackward<bf16> data = backward_inputs<bf16>(rows, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(
        aligned_for_vectors(data.dz, data.y, data.mean, data.inv_std, data.gamma, data.dgamma, data.dbeta),
        "an operand of batch normalisation lies off a multiple of 16 bytes");
    with_narrow_channels(shape, [&](auto channels) {
        const Strips strips = divide_rows<channels()>(shape);
        const auto kernel =
            add ? backward_data_kernel<channels(), true> : backward_data_kernel<channels(), false>;
        launch(context, "narrow_conv_backward_data", kernel, launch_shape<channels(), true>(strips), strips,
               dx.as<bf16>(), dy.as<bf16>(), data, w.as<bf16>());
    });
}

}  // namespace qstep::cuda

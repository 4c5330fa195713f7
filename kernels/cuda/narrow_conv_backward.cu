// The batch normalisation's gradient is applied while pixels go into shared memory, and written out once for
// the weight gradient; the data gradient is a product as the forward pass is, with the filters turned round.
// With stride 2 the pixels of x fall into four classes by the parity of row and column, each with taps of its
// own, and a block makes them one after the other from the same pixels of y.
//
// Bytes of an element and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements): 4 read, 4 written, 3.9 us
// (with the border read again 4.2; where dx is added to, 2 more). Operations as in the forward pass.
#include "kernels/batch_norm_checks.h"
#include "kernels/cuda/device/batch_norm.cuh"
#include "kernels/cuda/device/narrow_result.cuh"

namespace qstep::cuda {

namespace {

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

/// x or dx.
struct Image {
    bf16* data;
    int height, width;
};

// The strip's pixels of one parity.
template <typename Conv, bool kAdd, int kParity>
__device__ void make_pixels(const Image& dx, const NarrowProduct<Conv, true>& product, const Strips& strips,
                            int strip, int part, bf16* staged) {
    using Product = NarrowProduct<Conv, true>;
    constexpr bool kHasTaps = Product::template has_taps<kParity>();
    if constexpr (kHasTaps || !kAdd) {
        NarrowSums<Conv::kIn> sums = {};
        if constexpr (kHasTaps) product.template add_to<kParity>(sums);
        const NarrowTarget<Conv::kStride> target(strips, strip, dx.height, dx.width, kParity);
        const int channel = part * Product::Tile::kColumns, count = strips.pixels_of(strip);
        if constexpr (kAdd) add_stored<Conv::kIn>(sums, dx.data, target, channel, count);
        store_sums<Conv::kIn>(dx.data, target, channel, sums, count, staged);
    }
}

template <typename Conv, bool kAdd>
__global__ void __launch_bounds__(kNarrowThreads, 2)
    backward_data_kernel(Strips strips, Window window, Image dx, bf16* dy, BatchNormBackward<bf16> data,
                         const bf16* w) {
    using Product = NarrowProduct<Conv, true>;
    auto* filters = dynamic_shared<bf16>();
    bf16* const pixels = filters + Product::Filters::kTotal;
    bf16* const staged = pixels + window.pixels() * (Conv::kOut + kVector);
    const int part = static_cast<int>(blockIdx.x) % Product::Tile::kParts;
    const int strip = static_cast<int>(blockIdx.x) / Product::Tile::kParts;
    Product::Filters::load(filters, w, part);
    const int channel = static_cast<int>(threadIdx.x) % (Conv::kOut / kVector) * kVector;
    constexpr int kBefore = kWindowBefore<Conv, true>;
    load_window<Conv::kOut>(pixels, window, strips.image(strip), strips.first_row(strip) - kBefore, -kBefore,
                            strips.first_row(strip), strips.rows,
                            GradientPixels(data, part == 0 ? dy : nullptr, channel));
    __syncthreads();
    const Product product(pixels, filters, strips, window.wide);
    make_pixels<Conv, kAdd, 0>(dx, product, strips, strip, part, staged);
    if constexpr (Conv::kStride == 2) {
        make_pixels<Conv, kAdd, 1>(dx, product, strips, strip, part, staged);
        make_pixels<Conv, kAdd, 2>(dx, product, strips, strip, part, staged);
        make_pixels<Conv, kAdd, 3>(dx, product, strips, strip, part, staged);
    }
}

template <typename Conv>
void launch_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                          const Tensor& dy, const BatchNormBackward<bf16>& data, const Tensor& w) {
    using Product = NarrowProduct<Conv, true>;
    // For stride 2 strips of y; its last row and column may stand for pixels of x that are not there.
    const Strips strips(shape.batch, shape.out_height(), shape.out_width(), Product::Tile::kPixels);
    const Window window = window_of<Conv, true>(strips, shape);
    const int elements = Product::Filters::kTotal + window.pixels() * (Conv::kOut + kVector) +
                         staged_elements<Conv::kIn>(strips.rows * strips.width);
    const Image image{dx.as<bf16>(), static_cast<int>(shape.height), static_cast<int>(shape.width)};
    launch(context, "narrow_conv_backward_data",
           add ? backward_data_kernel<Conv, true> : backward_data_kernel<Conv, false>,
           {static_cast<std::int64_t>(strips.count()) * Product::Tile::kParts, kNarrowThreads,
            static_cast<std::size_t>(elements) * sizeof(bf16)},
           strips, window, image, dy.as<bf16>(), data, w.as<bf16>());
}

}  // namespace

void narrow_conv_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                               const Tensor& dy, const Tensor& dz, const Tensor& y, const Tensor& w,
                               const Tensor& dgamma, const Tensor& dbeta, const BatchNormStats& stats,
                               const Tensor& gamma) {
    check_narrow_operands(shape, dx, dy, w);
    const std::int64_t rows = qstep::detail::check_backward_apply(dy, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(dy.data != dz.data, "blocks read dz beside what others write to dy");
    const BatchNormBackward<bf16> data = backward_inputs<bf16>(rows, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(
        aligned_for_vectors(data.dz, data.y, data.mean, data.inv_std, data.gamma, data.dgamma, data.dbeta),
        "an operand of batch normalisation lies off a multiple of 16 bytes");
    QSTEP_CHECK(reads_a_layer(shape), "the gradient of images is asked for");
    with_narrow_conv(shape, [&]<typename Conv>(Conv) {
        if constexpr (Conv::kIn > 3) launch_backward_data<Conv>(context, shape, dx, add, dy, data, w);
    });
}

}  // namespace qstep::cuda

// The batch normalisation's gradient is applied while pixels go into shared memory, and written out once for
// the weight gradient; the data gradient is a product as the forward pass is, with the filters turned round.
// With stride 2 the pixels of x fall into four classes by the parity of row and column, each with taps of its
// own, and a block makes them one after the other from the same pixels of y. Where dx is then complete, the
// next layer's two sums are taken of it before it is stored, and the last block adds the blocks up.
//
// Bytes of an element and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements): 4 read, 4 written, 3.9 us
// (with the border read again 4.2; where dx is added to, 2 more). Operations as in the forward pass.
#include "kernels/batch_norm_checks.h"
#include "kernels/cuda/arrival_counters.h"
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

// The first half of batch normalisation's backward for the layer that made x, while dx is stored.
struct ReducedPixels {
    const bf16 *x, *y;
    bool relu;
    float mean[kVector], dbeta[kVector] = {}, centred[kVector] = {};
    struct Inputs {
        uint4 x, y;
    };

    __device__ ReducedPixels(const bf16* x_, const bf16* y_, bool relu_, const float* means, int channel)
        : x(x_), y(y_), relu(relu_) {
        load_floats(mean, means + channel);
    }
    __device__ Inputs load(std::int64_t element) const {
        return {relu ? detail::load_16_bytes(x + element) : uint4{0, 0, 0, 0},
                detail::load_16_bytes(y + element)};
    }
    __device__ uint4 value(const Inputs& inputs, uint4 bytes) {
        float gradient[kVector], out[kVector], output[kVector];
        detail::unpack_16_bytes(gradient, bytes, bf16{});
        detail::unpack_16_bytes(out, inputs.x, bf16{});
        detail::unpack_16_bytes(output, inputs.y, bf16{});
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
            if (relu && !(out[v] > 0.0f)) gradient[v] = 0.0f;
            dbeta[v] += gradient[v];
            centred[v] = fmaf(gradient[v], output[v] - mean[v], centred[v]);
        }
        return detail::pack_16_bytes(gradient, bf16{});
    }
};

/// dx and what its pixels are.
struct Image {
    bf16* dx;
    int height, width;
};

/// What ReducedPixels reads and where its sums go.
struct Reduction {
    const bf16 *x, *y;
    const float* mean;
    bool relu;
    Partials partials;
    int* arrived;
    ReductionTargets to;
};

// The strip's pixels of one parity.
template <typename Conv, bool kAdd, int kParity, typename Finish>
__device__ void make_pixels(const Image& image, const NarrowProduct<Conv, true>& product,
                            const Strips& strips, int strip, int part, bf16* staged, Finish& finish) {
    using Product = NarrowProduct<Conv, true>;
    constexpr bool kHasTaps = Product::template has_taps<kParity>();
    // What is not reduced and gets nothing added can stay as it is.
    if constexpr (kHasTaps || !kAdd || std::is_same_v<Finish, ReducedPixels>) {
        NarrowSums<Conv::kIn> sums = {};
        if constexpr (kHasTaps) product.template add_to<kParity>(sums);
        const NarrowTarget<Conv::kStride> target(strips, strip, image.height, image.width, kParity);
        const int channel = part * Product::Tile::kColumns, count = strips.pixels_of(strip);
        if constexpr (kAdd) add_stored<Conv::kIn>(sums, image.dx, target, channel, count);
        store_sums<Conv::kIn>(image.dx, target, channel, sums, count, staged, finish);
    }
}

template <typename Conv, bool kAdd, typename Finish>
__device__ void make_all_pixels(const Image& image, const NarrowProduct<Conv, true>& product,
                                const Strips& strips, int strip, int part, bf16* staged, Finish& finish) {
    make_pixels<Conv, kAdd, 0>(image, product, strips, strip, part, staged, finish);
    if constexpr (Conv::kStride == 2) {
        make_pixels<Conv, kAdd, 1>(image, product, strips, strip, part, staged, finish);
        make_pixels<Conv, kAdd, 2>(image, product, strips, strip, part, staged, finish);
        make_pixels<Conv, kAdd, 3>(image, product, strips, strip, part, staged, finish);
    }
}

// Adds up what the block's threads have; the last block of the same channels adds the blocks up.
template <int kOuter>
__device__ void finish_reduction(const ReducedPixels& own, const Reduction& reduction, int part, int blocks,
                                 int block) {
    constexpr int kColumns = NarrowTile<kOuter>::kColumns;
    Columns columns{};
    columns.width = kColumns / kVector;
    columns.lanes = kNarrowThreads / columns.width;
    const ColumnSums<kVector> sums(columns);
    double total[2];
    sums.add_lanes(total, own.dbeta, own.centred, columns);
    if (sums.segment == 0) {
        const std::int64_t at = reduction.partials.at(sums, part, blocks, block);
        reduction.partials.first[at] = total[0];
        reduction.partials.second[at] = total[1];
    }
    if (!last_to_arrive(reduction.arrived + part, blocks)) return;
    add_blocks(total, sums, reduction.partials, part, blocks);
    if (sums.segment == 0) reduction.to.write(part * kColumns + sums.output, total);
}

template <typename Conv, bool kAdd, bool kReduce>
__global__ void __launch_bounds__(kNarrowThreads, 2)
    backward_data_kernel(Strips strips, Window window, int blocks, Image image, bf16* dy,
                         BatchNormBackward<bf16> data, const bf16* w, Reduction reduction) {
    using Product = NarrowProduct<Conv, true>;
    auto* filters = dynamic_shared<bf16>();
    bf16* const pixels = filters + Product::Filters::kTotal;
    bf16* const staged = pixels + window.pixels() * (Conv::kOut + kVector);
    const int part = static_cast<int>(blockIdx.x) % Product::Tile::kParts;
    const int strip = static_cast<int>(blockIdx.x) / Product::Tile::kParts;
    wait_for_predecessor(part | strip | strips.first_row(strip));
    Product::Filters::load(filters, w, part);
    const int thread = static_cast<int>(threadIdx.x), channel = thread % (Conv::kOut / kVector) * kVector;
    constexpr int kBefore = kWindowBefore<Conv, true>;
    load_window<Conv::kOut>(pixels, window, strips.image(strip), strips.first_row(strip) - kBefore, -kBefore,
                            strips.first_row(strip), strips.rows,
                            GradientPixels(data, part == 0 ? dy : nullptr, channel));
    __syncthreads();
    const Product product(pixels, filters, strips, window.wide);
    if constexpr (kReduce) {
        constexpr int kColumns = Product::Tile::kColumns;
        ReducedPixels reduced(reduction.x, reduction.y, reduction.relu, reduction.mean,
                              part * kColumns + thread % (kColumns / kVector) * kVector);
        make_all_pixels<Conv, kAdd>(image, product, strips, strip, part, staged, reduced);
        finish_reduction<Conv::kIn>(reduced, reduction, part, blocks, strip);
    } else {
        StoredAsIs as_is;
        make_all_pixels<Conv, kAdd>(image, product, strips, strip, part, staged, as_is);
    }
}

template <typename Conv>
void launch_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                          const Tensor& dy, const BatchNormBackward<bf16>& data, const Tensor& w,
                          const Reduction* reduction) {
    using Product = NarrowProduct<Conv, true>;
    const Strips strips = strips_of<Conv, true>(shape);
    const Window window = window_of<Conv, true>(strips, shape);
    const int elements = Product::Filters::kTotal + window.pixels() * (Conv::kOut + kVector) +
                         staged_elements<Conv::kIn>(strips.rows * strips.width);
    const Image image{dx.as<bf16>(), static_cast<int>(shape.height), static_cast<int>(shape.width)};
    const auto kernel =
        reduction != nullptr
            ? (add ? backward_data_kernel<Conv, true, true> : backward_data_kernel<Conv, false, true>)
            : (add ? backward_data_kernel<Conv, true, false> : backward_data_kernel<Conv, false, false>);
    launch(context, "narrow_conv_backward_data", kernel,
           {static_cast<std::int64_t>(strips.count()) * Product::Tile::kParts, kNarrowThreads,
            static_cast<std::size_t>(elements) * sizeof(bf16)},
           strips, window, strips.count(), image, dy.as<bf16>(), data, w.as<bf16>(),
           reduction != nullptr ? *reduction : Reduction{});
}

}  // namespace

void narrow_conv_backward_data(const Context& context, const Conv2dShape& shape, const Tensor& dx, bool add,
                               const Tensor& dy, const Tensor& dz, const Tensor& y, const Tensor& x,
                               const Tensor& w, const Tensor& dgamma, const Tensor& dbeta,
                               const BatchNormStats& stats, const Tensor& gamma, const InputReduction* input,
                               void* workspace) {
    check_narrow_operands(shape, dx, dy, w);
    const std::int64_t rows = qstep::detail::check_backward_apply(dy, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(reads_a_layer(shape), "the gradient of images is asked for");
    for (const Tensor& written : {dx, dy})
        QSTEP_CHECK(written.data != dz.data && written.data != y.data,
                    "blocks read dz and y beside what others write");
    const BatchNormBackward<bf16> data = backward_inputs<bf16>(rows, dz, y, dgamma, dbeta, stats, gamma);
    QSTEP_CHECK(
        aligned_for_vectors(data.dz, data.y, data.mean, data.inv_std, data.gamma, data.dgamma, data.dbeta),
        "an operand of batch normalisation lies off a multiple of 16 bytes");
    Reduction reduction{};
    if (input != nullptr) {
        qstep::detail::check_backward_reduce(dx, input->dgamma, input->dbeta, dx, x, input->y, input->stats);
        reduction = {x.as<bf16>(),
                     input->y.as<bf16>(),
                     input->stats.mean.as<float>(),
                     input->relu,
                     partials_in<true>(workspace, shape),
                     arrival_counters(context),
                     {input->stats.inv_std.as<float>(), input->dgamma.as<float>(), input->dbeta.as<float>()}};
        QSTEP_CHECK(aligned_for_vectors(reduction.x, reduction.y, reduction.mean),
                    "an operand of batch normalisation lies off a multiple of 16 bytes");
    }
    with_narrow_conv(shape, [&]<typename Conv>(Conv) {
        if constexpr (Conv::kIn > 3)
            launch_backward_data<Conv>(context, shape, dx, add, dy, data, w,
                                       input != nullptr ? &reduction : nullptr);
    });
}

}  // namespace qstep::cuda

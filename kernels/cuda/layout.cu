// NHWC to and from NCHW: an image is a [H*W, C] matrix, transposed in squares through shared memory, so that
// both sides are read and written in runs of 32 elements.
//
// 8 / 4 bytes an element (f32 / bf16), accumulating 12 / 6, and no arithmetic but for that addition;
// [128,4,4,256] (0.5 M elements, the end of AlexNet's convolutions) takes 1.0 us / 0.5 us at 4.3 TB/s.
#include "kernels/layout.h"

#include "kernels/convert.h"
#include "kernels/cuda/device/launch.h"
#include "kernels/float_types.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

constexpr int kSquare = 32;
constexpr int kRows = 8;  // of a square that a block handles at a time
constexpr int kThreads = kSquare * kRows;

// `images` matrices [rows, columns], to be transposed.
struct Transposition {
    std::int64_t images, rows, columns;
    std::int64_t down, across;  // squares

    std::int64_t blocks() const { return images * down * across; }
};

Transposition transposition(std::int64_t images, std::int64_t rows, std::int64_t columns) {
    return {images, rows, columns, (rows + kSquare - 1) / kSquare, (columns + kSquare - 1) / kSquare};
}

template <typename T, bool kAccumulate>
__global__ void __launch_bounds__(kThreads) transpose_kernel(Transposition size, T* to, const T* from) {
    // One column more, so that a column's elements lie in different banks.
    QSTEP_SHARED float square[kSquare][kSquare + 1];
    const int x = static_cast<int>(threadIdx.x) % kSquare, y = static_cast<int>(threadIdx.x) / kSquare;
    const std::int64_t block = blockIdx.x;
    const std::int64_t image = block / (size.down * size.across) * size.rows * size.columns;
    const std::int64_t top = block / size.across % size.down * kSquare, left = block % size.across * kSquare;
    wait_for_predecessor();
#pragma unroll
    for (int i = 0; i < kSquare; i += kRows)
        if (top + y + i < size.rows && left + x < size.columns)
            square[y + i][x] = to_float(from[image + (top + y + i) * size.columns + left + x]);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kSquare; i += kRows)
        if (left + y + i < size.columns && top + x < size.rows) {
            T& target = to[image + (left + y + i) * size.rows + top + x];
            float value = square[x][y + i];
            if constexpr (kAccumulate) value += to_float(target);
            target = from_float<T>(value);
        }
}

void transpose(Context& context, const Transposition& size, const Tensor& to, bool accumulate,
               const Tensor& from) {
    with_float_type(to.dtype, "the transposed tensor", [&]<typename T>(T) {
        const auto kernel = accumulate ? transpose_kernel<T, true> : transpose_kernel<T, false>;
        launch(context, "transpose_layout", kernel, {size.blocks(), kThreads}, size, to.as<T>(),
               from.as<T>());
    });
}

}  // namespace

void nhwc_to_nchw(Context& context, const Tensor& to, const Tensor& from) {
    qstep::detail::check_layouts(from, to);
    const Shape& s = from.shape;
    if (s[1] * s[2] == 1) return cuda::convert(context, to, from);
    transpose(context, transposition(s[0], s[1] * s[2], s[3]), to, false, from);
}

void nchw_to_nhwc(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    qstep::detail::check_layouts(to, from);
    if (mode == GradMode::skip) return;
    const Shape& s = to.shape;
    if (s[1] * s[2] == 1 && mode == GradMode::overwrite) return cuda::convert(context, to, from);
    transpose(context, transposition(s[0], s[3], s[1] * s[2]), to, mode == GradMode::accumulate, from);
}

}  // namespace qstep::cuda

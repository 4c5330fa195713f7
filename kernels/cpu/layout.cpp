// NHWC to and from NCHW: an image is a [H*W, C] matrix to be transposed.
#include "kernels/layout.h"

namespace qstep::cpu {

namespace {

template <typename T>
void transpose_images(std::int64_t batch, std::int64_t pixels, std::int64_t channels, T* to, const T* from) {
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < batch; ++n) {
        const T* source = from + n * pixels * channels;
        T* target = to + n * pixels * channels;
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t p = 0; p < pixels; ++p) target[c * pixels + p] = source[p * channels + c];
    }
}

template <typename T>
void transpose_gradients(std::int64_t batch, std::int64_t pixels, std::int64_t channels, T* to,
                         bool accumulate, const T* from) {
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < batch; ++n) {
        const T* source = from + n * pixels * channels;
        T* target = to + n * pixels * channels;
        for (std::int64_t p = 0; p < pixels; ++p)
            for (std::int64_t c = 0; c < channels; ++c) {
                const float old = accumulate ? to_float(target[p * channels + c]) : 0.0f;
                target[p * channels + c] = from_float<T>(old + to_float(source[c * pixels + p]));
            }
    }
}

void check_layouts(const Tensor& nhwc, const Tensor& nchw) {
    QSTEP_CHECK(nhwc.shape.rank() == 4, "NHWC needs four extents, got {}", nhwc.shape.to_string());
    const Shape& s = nhwc.shape;
    check_tensor(nchw, "the NCHW side", nhwc.dtype, {s[0], s[3], s[1], s[2]});
}

}  // namespace

void nhwc_to_nchw(Context&, const Tensor& to, const Tensor& from) {
    check_layouts(from, to);
    const Shape& s = from.shape;
    if (from.dtype == DType::f32)
        transpose_images(s[0], s[1] * s[2], s[3], to.as<float>(), from.as<float>());
    else
        transpose_images(s[0], s[1] * s[2], s[3], to.as<bf16>(), from.as<bf16>());
}

void nchw_to_nhwc(Context&, const Tensor& to, GradMode mode, const Tensor& from) {
    check_layouts(to, from);
    if (mode == GradMode::skip) return;
    const bool accumulate = mode == GradMode::accumulate;
    const Shape& s = to.shape;
    if (to.dtype == DType::f32)
        transpose_gradients(s[0], s[1] * s[2], s[3], to.as<float>(), accumulate, from.as<float>());
    else
        transpose_gradients(s[0], s[1] * s[2], s[3], to.as<bf16>(), accumulate, from.as<bf16>());
}

}  // namespace qstep::cpu

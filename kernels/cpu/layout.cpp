// NHWC to and from NCHW: an image is a [H*W, C] matrix to be transposed.
#include "kernels/layout.h"

#include "kernels/cpu/parallel.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

// [pixels, channels] to [channels, pixels] for the images begin..end.
template <typename T>
void transpose_images(const Shape& nhwc, T* to, const T* from, std::int64_t begin, std::int64_t end) {
    const std::int64_t pixels = nhwc[1] * nhwc[2], channels = nhwc[3];
    for (std::int64_t n = begin; n < end; ++n) {
        const T* source = from + n * pixels * channels;
        T* target = to + n * pixels * channels;
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t p = 0; p < pixels; ++p) target[c * pixels + p] = source[p * channels + c];
    }
}

template <typename T>
void transpose_gradients(const Shape& nhwc, T* to, bool accumulate, const T* from, std::int64_t begin,
                         std::int64_t end) {
    const std::int64_t pixels = nhwc[1] * nhwc[2], channels = nhwc[3];
    for (std::int64_t n = begin; n < end; ++n) {
        const T* source = from + n * pixels * channels;
        T* target = to + n * pixels * channels;
        for (std::int64_t p = 0; p < pixels; ++p)
            for (std::int64_t c = 0; c < channels; ++c) {
                const float old = accumulate ? to_float(target[p * channels + c]) : 0.0f;
                target[p * channels + c] = from_float<T>(old + to_float(source[c * pixels + p]));
            }
    }
}

}  // namespace

void nhwc_to_nchw(Context& context, const Tensor& to, const Tensor& from) {
    qstep::detail::check_layouts(from, to);
    const Shape& s = from.shape;
    with_float_type(from.dtype, "the NHWC side", [&]<typename T>(T) {
        cpu::parallel_ranges(context, s[0], 1, s.count() / s[0], [&](std::int64_t begin, std::int64_t end) {
            transpose_images(s, to.as<T>(), from.as<T>(), begin, end);
        });
    });
}

void nchw_to_nhwc(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    qstep::detail::check_layouts(to, from);
    if (mode == GradMode::skip) return;
    const bool accumulate = mode == GradMode::accumulate;
    const Shape& s = to.shape;
    with_float_type(to.dtype, "the NHWC side", [&]<typename T>(T) {
        cpu::parallel_ranges(context, s[0], 1, s.count() / s[0], [&](std::int64_t begin, std::int64_t end) {
            transpose_gradients(s, to.as<T>(), accumulate, from.as<T>(), begin, end);
        });
    });
}

}  // namespace qstep::cpu

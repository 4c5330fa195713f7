#include "kernels/cpu/batch_norm_loops.h"

#include <algorithm>

#include "engine/bf16.h"
#include "kernels/cpu/simd.h"

namespace qstep::cpu {

namespace {

// Elements of a tile; long enough to bury the loop around it, short enough for its arrays to stay in L1.
constexpr std::int64_t kTile = 256;
// Tiles whose float32 sums are added up before they go to double.
constexpr std::int64_t kTilesPerPartial = 64;

template <typename T, bool kResidual, bool kRelu>
QSTEP_CLONES void normalize(T* out, const T* y, const T* residual, const float* scale, const float* shift,
                            std::int64_t width, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += width) {
        const std::int64_t lanes = std::min(width, count - i);
#pragma omp simd
        for (std::int64_t j = 0; j < lanes; ++j) {
            float z = scale[j] * to_float(y[i + j]) + shift[j];
            if constexpr (kResidual) z += to_float(residual[i + j]);
            if constexpr (kRelu) z = 0.0f > z ? 0.0f : z;  // written so that NaN stays
            out[i + j] = from_float<T>(z);
        }
    }
}

template <typename T, bool kAccumulate>
QSTEP_CLONES void backward(T* dy, const T* dz, const T* y, const float* a, const float* b, const float* c,
                           std::int64_t width, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += width) {
        const std::int64_t lanes = std::min(width, count - i);
#pragma omp simd
        for (std::int64_t j = 0; j < lanes; ++j) {
            float value = a[j] * to_float(dz[i + j]) + (b[j] * to_float(y[i + j]) + c[j]);
            if constexpr (kAccumulate) value += to_float(dy[i + j]);
            dy[i + j] = from_float<T>(value);
        }
    }
}

// One run of at most kTilesPerPartial tiles.
template <typename T>
QSTEP_CLONES void moments(float* sum, float* square_sum, const T* y, const float* shift, std::int64_t width,
                          std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += width) {
        const std::int64_t lanes = std::min(width, count - i);
#pragma omp simd
        for (std::int64_t j = 0; j < lanes; ++j) {
            const float value = to_float(y[i + j]) - shift[j];
            sum[j] += value;
            square_sum[j] += value * value;
        }
    }
}

template <typename T, bool kRelu>
QSTEP_CLONES void reduce(float* dbeta, float* centred, T* dz, const T* dout, const T* out, const T* y,
                         const float* mean, std::int64_t width, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += width) {
        const std::int64_t lanes = std::min(width, count - i);
#pragma omp simd
        for (std::int64_t j = 0; j < lanes; ++j) {
            float gradient = to_float(dout[i + j]);
            if constexpr (kRelu) {
                gradient = to_float(out[i + j]) > 0.0f ? gradient : 0.0f;
                dz[i + j] = from_float<T>(gradient);
            }
            dbeta[j] += gradient;
            centred[j] += gradient * (to_float(y[i + j]) - mean[j]);
        }
    }
}

QSTEP_CLONES void fold(double* sum, float* partial, std::int64_t channels, std::int64_t width) {
    for (std::int64_t i = 0; i < width; i += channels)
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) sum[c] += static_cast<double>(partial[i + c]);
    std::fill_n(partial, width, 0.0f);
}

// Calls body(first element, elements) for runs of tiles and folds both partial sums after each.
template <typename Body>
void fold_in_runs(double* first, double* second, float* partial, std::int64_t channels, std::int64_t width,
                  std::int64_t count, const Body& body) {
    std::fill_n(first, channels, 0.0);
    std::fill_n(second, channels, 0.0);
    std::fill_n(partial, 2 * width, 0.0f);
    const std::int64_t run = kTilesPerPartial * width;
    for (std::int64_t i = 0; i < count; i += run) {
        body(i, std::min(run, count - i));
        fold(first, partial, channels, width);
        fold(second, partial + width, channels, width);
    }
}

}  // namespace

Tiling::Tiling(std::int64_t channels)
    : repeat(std::max<std::int64_t>(1, kTile / channels)), width(repeat * channels) {}

void repeat_channels(float* to, const float* per_channel, std::int64_t channels, std::int64_t width) {
    for (std::int64_t j = 0; j < width; j += channels) std::copy_n(per_channel, channels, to + j);
}

template <typename T>
void normalize_range(T* out, const T* y, const T* residual, bool relu, const float* scale, const float* shift,
                     std::int64_t width, std::int64_t count) {
    const auto pass = residual ? (relu ? normalize<T, true, true> : normalize<T, true, false>)
                               : (relu ? normalize<T, false, true> : normalize<T, false, false>);
    pass(out, y, residual, scale, shift, width, count);
}

template <typename T>
void moments_range(double* sum, double* square_sum, float* partial, const T* y, const float* shift,
                   std::int64_t channels, std::int64_t width, std::int64_t count) {
    fold_in_runs(sum, square_sum, partial, channels, width, count, [=](std::int64_t i, std::int64_t n) {
        moments(partial, partial + width, y + i, shift, width, n);
    });
}

template <typename T>
void reduce_range(double* dbeta, double* centred, float* partial, T* dz, const T* dout, const T* out,
                  const T* y, const float* mean, std::int64_t channels, std::int64_t width,
                  std::int64_t count) {
    const auto pass = out ? reduce<T, true> : reduce<T, false>;
    fold_in_runs(dbeta, centred, partial, channels, width, count, [=](std::int64_t i, std::int64_t n) {
        pass(partial, partial + width, dz + i, dout + i, out ? out + i : nullptr, y + i, mean, width, n);
    });
}

template <typename T>
void backward_range(T* dy, bool accumulate, const T* dz, const T* y, const float* a, const float* b,
                    const float* c, std::int64_t width, std::int64_t count) {
    const auto pass = accumulate ? backward<T, true> : backward<T, false>;
    pass(dy, dz, y, a, b, c, width, count);
}

#define QSTEP_INSTANTIATE(T)                                                                                 \
    template void normalize_range<T>(T*, const T*, const T*, bool, const float*, const float*, std::int64_t, \
                                     std::int64_t);                                                          \
    template void moments_range<T>(double*, double*, float*, const T*, const float*, std::int64_t,           \
                                   std::int64_t, std::int64_t);                                              \
    template void reduce_range<T>(double*, double*, float*, T*, const T*, const T*, const T*, const float*,  \
                                  std::int64_t, std::int64_t, std::int64_t);                                 \
    template void backward_range<T>(T*, bool, const T*, const T*, const float*, const float*, const float*,  \
                                    std::int64_t, std::int64_t)
QSTEP_INSTANTIATE(float);
QSTEP_INSTANTIATE(bf16);
#undef QSTEP_INSTANTIATE

}  // namespace qstep::cpu

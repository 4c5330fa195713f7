#include "kernels/cpu/batch_norm_loops.h"

#include <algorithm>
#include <numeric>

#include "engine/bf16.h"
#include "kernels/cpu/batch_norm_avx512.h"
#include "kernels/cpu/simd.h"

namespace qstep::cpu {

namespace {

// Elements of a tile: long enough to bury the loop around it, short enough for its arrays to stay in L1.
constexpr std::int64_t kTile = 256;
// Tiles may grow to this to be a multiple of 64.
constexpr std::int64_t kWidestTile = 2048;
// Tiles whose values are added in float32 before they go to double.
constexpr std::int64_t kTilesPerPartial = 64;
// Elements over which all groups of columns pass before the next rows' turn: what the second cache holds.
constexpr std::int64_t kRun = 1 << 14;

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

// Adds columns first.. of a tile to their channels' sums.
template <typename Partial>
void fold(const Tiling& tiling, double* sum, const Partial* partial, std::int64_t first,
          std::int64_t columns) {
    std::int64_t c = first % tiling.channels;
    for (std::int64_t j = 0; j < columns; ++j) {
        sum[c] += static_cast<double>(partial[j]);
        if (++c == tiling.channels) c = 0;
    }
}

// Whether the loops by hand run, and over how many of `count` elements; the plain ones do the rest.
template <typename T>
std::int64_t elements_by_hand(const Tiling& tiling, std::int64_t count) {
    if (!avx512::kCompiled || tiling.stride == 0 || !avx512::available<T>()) return 0;
    return count / tiling.stride * tiling.stride;
}

// Calls body(first element, first column, rows) for every group of columns of `count` elements.
template <typename Body>
void for_each_group(const Tiling& tiling, std::int64_t count, const Body& body) {
    const std::int64_t rows = count / tiling.stride;
    const bool one_group = tiling.stride == avx512::kColumns;
    const std::int64_t run = one_group ? rows : std::max<std::int64_t>(1, kRun / tiling.stride);
    for (std::int64_t row = 0; row < rows; row += run)
        for (std::int64_t column = 0; column < tiling.stride; column += avx512::kColumns)
            body(row * tiling.stride + column, column, std::min(run, rows - row));
}

// Two sums over `count` elements. by_hand(its two sums, first element, first column, rows) overwrites those
// of a group of columns, plain(first element, elements) adds those of some tiles to `partial`; both are
// folded into the channels' sums.
template <typename T, typename ByHand, typename Plain>
void sum_range(const Tiling& tiling, double* first, double* second, float* partial, std::int64_t count,
               const ByHand& by_hand, const Plain& plain) {
    std::fill_n(first, tiling.channels, 0.0);
    std::fill_n(second, tiling.channels, 0.0);
    const std::int64_t done = elements_by_hand<T>(tiling, count);
    if constexpr (avx512::kCompiled)
        if (done > 0)
            for_each_group(tiling, done, [&](std::int64_t at, std::int64_t column, std::int64_t rows) {
                double sums[2][avx512::kColumns];
                by_hand(sums[0], sums[1], at, column, rows);
                fold(tiling, first, sums[0], column, avx512::kColumns);
                fold(tiling, second, sums[1], column, avx512::kColumns);
            });
    const std::int64_t run = kTilesPerPartial * tiling.width;
    for (std::int64_t i = done; i < count; i += run) {
        std::fill_n(partial, 2 * tiling.width, 0.0f);
        plain(i, std::min(run, count - i));
        fold(tiling, first, partial, 0, tiling.width);
        fold(tiling, second, partial + tiling.width, 0, tiling.width);
    }
}

}  // namespace

Tiling::Tiling(std::int64_t c) : channels(c), width(c), stride(std::lcm(c, avx512::kColumns)) {
    if (stride <= kWidestTile)
        width = stride;
    else
        stride = 0;
    width *= std::max<std::int64_t>(1, kTile / width);
}

void repeat_channels(float* to, const float* per_channel, const Tiling& tiling) {
    for (std::int64_t j = 0; j < tiling.width; j += tiling.channels)
        std::copy_n(per_channel, tiling.channels, to + j);
}

template <typename T>
void normalize_range(const Tiling& tiling, T* out, const T* y, const T* residual, bool relu,
                     const float* scale, const float* shift, std::int64_t count) {
    const std::int64_t done = elements_by_hand<T>(tiling, count);
    if constexpr (avx512::kCompiled)
        if (done > 0)
            for_each_group(tiling, done, [&](std::int64_t at, std::int64_t column, std::int64_t rows) {
                avx512::normalize(out + at, y + at, residual ? residual + at : nullptr, relu, scale + column,
                                  shift + column, tiling.stride, rows);
            });
    const auto pass = residual ? (relu ? normalize<T, true, true> : normalize<T, true, false>)
                               : (relu ? normalize<T, false, true> : normalize<T, false, false>);
    pass(out + done, y + done, residual ? residual + done : nullptr, scale, shift, tiling.width,
         count - done);
}

template <typename T>
void moments_range(const Tiling& tiling, double* sum, double* square_sum, float* partial, const T* y,
                   const float* shift, std::int64_t count) {
    const std::int64_t width = tiling.width;
    sum_range<T>(
        tiling, sum, square_sum, partial, count,
        [=](double* first, double* second, std::int64_t at, std::int64_t column, std::int64_t rows) {
            avx512::moments(first, second, y + at, shift + column, tiling.stride, rows);
        },
        [=](std::int64_t at, std::int64_t n) { moments(partial, partial + width, y + at, shift, width, n); });
}

template <typename T>
void reduce_range(const Tiling& tiling, double* dbeta, double* centred, float* partial, T* dz, const T* dout,
                  const T* out, const T* y, const float* mean, std::int64_t count) {
    const std::int64_t width = tiling.width;
    const auto pass = out ? reduce<T, true> : reduce<T, false>;
    sum_range<T>(
        tiling, dbeta, centred, partial, count,
        [=](double* first, double* second, std::int64_t at, std::int64_t column, std::int64_t rows) {
            avx512::reduce(first, second, dz + at, dout + at, out ? out + at : nullptr, y + at, mean + column,
                           tiling.stride, rows);
        },
        [=](std::int64_t at, std::int64_t n) {
            pass(partial, partial + width, dz + at, dout + at, out ? out + at : nullptr, y + at, mean, width,
                 n);
        });
}

template <typename T>
void backward_range(const Tiling& tiling, T* dy, bool accumulate, const T* dz, const T* y, const float* a,
                    const float* b, const float* c, std::int64_t count) {
    const std::int64_t done = elements_by_hand<T>(tiling, count);
    if constexpr (avx512::kCompiled)
        if (done > 0)
            for_each_group(tiling, done, [&](std::int64_t at, std::int64_t column, std::int64_t rows) {
                avx512::backward(dy + at, accumulate, dz + at, y + at, a + column, b + column, c + column,
                                 tiling.stride, rows);
            });
    const auto pass = accumulate ? backward<T, true> : backward<T, false>;
    pass(dy + done, dz + done, y + done, a, b, c, tiling.width, count - done);
}

#define QSTEP_INSTANTIATE(T)                                                                                 \
    template void normalize_range<T>(const Tiling&, T*, const T*, const T*, bool, const float*,              \
                                     const float*, std::int64_t);                                            \
    template void moments_range<T>(const Tiling&, double*, double*, float*, const T*, const float*,          \
                                   std::int64_t);                                                            \
    template void reduce_range<T>(const Tiling&, double*, double*, float*, T*, const T*, const T*, const T*, \
                                  const float*, std::int64_t);                                               \
    template void backward_range<T>(const Tiling&, T*, bool, const T*, const T*, const float*, const float*, \
                                    const float*, std::int64_t)
QSTEP_INSTANTIATE(float);
QSTEP_INSTANTIATE(bf16);
#undef QSTEP_INSTANTIATE

}  // namespace qstep::cpu

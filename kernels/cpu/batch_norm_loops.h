// The passes of batch normalisation over one thread's rows. Channels repeat every C elements, so per-channel
// values are laid out repeated to a tile (a multiple of C, some hundred elements), and the passes run over
// tiles: their inner loops are plain vector loops whatever C is. Where tiles are whole groups of 64 columns,
// AVX-512 processors take the loops of batch_norm_avx512.h instead.
#pragma once

#include <cstdint>

namespace qstep::cpu {

/// How elements are divided: `width` elements a tile, a multiple of `channels`.
struct Tiling {
    explicit Tiling(std::int64_t channels);
    std::int64_t channels, width;
    /// Elements from one row of column groups to the next: a multiple of `channels` and of 64 that divides
    /// the width; 0 where there is none.
    std::int64_t stride;

    /// What ranges should begin and end on.
    std::int64_t unit() const { return stride > 0 ? stride : width; }
};

/// to[j] = per_channel[j % channels] for j < tiling.width.
void repeat_channels(float* to, const float* per_channel, const Tiling& tiling);

// Below, T is float or bf16; ranges start at a row and hold `count` elements, whole rows; `scale`, `shift`,
// `mean`, `a`, `b` and `c` are repeated values, [width]; `partial` is scratch of 2 * width floats; sums are
// in double, [channels], overwritten.

/// out = scale * y + shift [+ residual], then max(., 0) with `relu`. residual may be null.
template <typename T>
void normalize_range(const Tiling& tiling, T* out, const T* y, const T* residual, bool relu,
                     const float* scale, const float* shift, std::int64_t count);

/// sum[c] = sum of y - shift, square_sum[c] = sum of (y - shift)^2.
template <typename T>
void moments_range(const Tiling& tiling, double* sum, double* square_sum, float* partial, const T* y,
                   const float* shift, std::int64_t count);

/// dz = out > 0 ? dout : 0 where `out` is given; dbeta[c] = sum of dz; centred[c] = sum of dz * (y - mean).
/// Without `out`, dz is not written.
template <typename T>
void reduce_range(const Tiling& tiling, double* dbeta, double* centred, float* partial, T* dz, const T* dout,
                  const T* out, const T* y, const float* mean, std::int64_t count);

/// dy (+)= a * dz + b * y + c.
template <typename T>
void backward_range(const Tiling& tiling, T* dy, bool accumulate, const T* dz, const T* y, const float* a,
                    const float* b, const float* c, std::int64_t count);

}  // namespace qstep::cpu

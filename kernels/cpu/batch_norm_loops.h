// The passes of batch normalisation over one thread's rows. Channels repeat every C elements, so per-channel
// values are laid out repeated to a `width` (a multiple of C, some hundred elements), and the passes run over
// tiles of that width: their inner loops are plain vector loops whatever C is.
#pragma once

#include <cstdint>

namespace qstep::cpu {

/// Rows per tile and its width in elements.
struct Tiling {
    explicit Tiling(std::int64_t channels);
    std::int64_t repeat, width;
};

/// to[j] = per_channel[j % channels] for j < width.
void repeat_channels(float* to, const float* per_channel, std::int64_t channels, std::int64_t width);

// Below, T is float or bf16; ranges start at a row, hold `count` elements, and `scale`, `shift`, `mean`, `a`,
// `b`, `c` and `partial` are [width].

/// out = scale * y + shift [+ residual], then max(., 0) with `relu`. residual may be null.
template <typename T>
void normalize_range(T* out, const T* y, const T* residual, bool relu, const float* scale, const float* shift,
                     std::int64_t width, std::int64_t count);

/// sum[c] = sum of y - shift, square_sum[c] = sum of (y - shift)^2, in double [channels]; `partial` holds
/// 2 * width floats of scratch.
template <typename T>
void moments_range(double* sum, double* square_sum, float* partial, const T* y, const float* shift,
                   std::int64_t channels, std::int64_t width, std::int64_t count);

/// dz = out > 0 ? dout : 0 where `out` is given; dbeta[c] = sum of dz and centred[c] = sum of dz * (y -
/// mean), in double [channels]; `partial` holds 2 * width floats of scratch. Without `out`, dz is not
/// written.
template <typename T>
void reduce_range(double* dbeta, double* centred, float* partial, T* dz, const T* dout, const T* out,
                  const T* y, const float* mean, std::int64_t channels, std::int64_t width,
                  std::int64_t count);

/// dy (+)= a * dz + b * y + c.
template <typename T>
void backward_range(T* dy, bool accumulate, const T* dz, const T* y, const float* a, const float* b,
                    const float* c, std::int64_t width, std::int64_t count);

}  // namespace qstep::cpu

// Batch normalisation's passes by hand for AVX-512, over 64 neighbouring columns of a row-major matrix: their
// per-channel values and sums stay in registers. batch_norm_loops.h has the formulas and calls these where
// the processor can.
#pragma once

#include <cstdint>

namespace qstep::cpu::avx512 {

/// Columns handled at once: four vectors of float32.
constexpr std::int64_t kColumns = 64;
/// Values that float32 sums have at most.
constexpr std::int64_t kPartialRows = 64;

/// Whether the functions below exist in this build.
#if defined(__x86_64__)
constexpr bool kCompiled = true;
#else
constexpr bool kCompiled = false;
#endif

/// Whether this processor can run them for T: for bf16 only with AVX-512's own conversion, which takes
/// numbers below 2^-126 for zero and otherwise rounds as to_bf16 does.
template <typename T>
bool available();

// Pointers are at the first row's first column, `stride` elements lie between rows, per-channel arrays are
// [kColumns].

template <typename T>
void normalize(T* out, const T* y, const T* residual, bool relu, const float* scale, const float* shift,
               std::int64_t stride, std::int64_t rows);

/// sum and square_sum are overwritten; kPartialRows rows at a time are added in float32, the rest in double.
template <typename T>
void moments(double* sum, double* square_sum, const T* y, const float* shift, std::int64_t stride,
             std::int64_t rows);

/// dbeta and centred are overwritten, added up likewise; out may be null.
template <typename T>
void reduce(double* dbeta, double* centred, T* dz, const T* dout, const T* out, const T* y, const float* mean,
            std::int64_t stride, std::int64_t rows);

template <typename T>
void backward(T* dy, bool accumulate, const T* dz, const T* y, const float* a, const float* b, const float* c,
              std::int64_t stride, std::int64_t rows);

}  // namespace qstep::cpu::avx512

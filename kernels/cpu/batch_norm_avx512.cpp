#include "kernels/cpu/batch_norm_avx512.h"

#include <immintrin.h>

#include <algorithm>
#include <type_traits>

#include "engine/bf16.h"

// Function by function rather than for the whole file, so that no shared inline function is compiled for
// processors that may not be there. Float32 functions use no bf16 instruction, so available() asks for less.
#define QSTEP_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define QSTEP_AVX512_INLINE QSTEP_AVX512 __attribute__((always_inline)) inline

namespace qstep::cpu::avx512 {

namespace {

constexpr int kVectors = kColumns / 16;

QSTEP_AVX512_INLINE __m512 load(const float* from) {
    return _mm512_loadu_ps(from);
}
QSTEP_AVX512_INLINE __m512 load(const bf16* from) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
QSTEP_AVX512_INLINE void store(float* to, __m512 value) {
    _mm512_storeu_ps(to, value);
}
QSTEP_AVX512_INLINE void store(bf16* to, __m512 value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

struct Columns {
    __m512 vector[kVectors];
};
QSTEP_AVX512_INLINE Columns columns(const float* from) {
    return {{load(from), load(from + 16), load(from + 32), load(from + 48)}};
}
QSTEP_AVX512_INLINE Columns zero() {
    return {{_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()}};
}
QSTEP_AVX512_INLINE void add_to(double* sums, const Columns& from) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
        double* at = sums + 16 * v;
        const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(from.vector[v]));
        const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(from.vector[v], 1));
        _mm512_storeu_pd(at, _mm512_add_pd(_mm512_loadu_pd(at), low));
        _mm512_storeu_pd(at + 8, _mm512_add_pd(_mm512_loadu_pd(at + 8), high));
    }
}

template <typename T, bool kResidual, bool kRelu>
QSTEP_AVX512 void normalize_rows(T* out, const T* y, const T* residual, const float* scale,
                                 const float* shift, std::int64_t stride, std::int64_t rows) {
    const Columns slope = columns(scale), offset = columns(shift);
    const __m512 zeros = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < rows * stride; i += stride)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t at = i + 16 * v;
            __m512 z = _mm512_fmadd_ps(slope.vector[v], load(y + at), offset.vector[v]);
            if constexpr (kResidual) z = _mm512_add_ps(z, load(residual + at));
            if constexpr (kRelu) z = _mm512_max_ps(zeros, z);  // the second operand where one is NaN
            store(out + at, z);
        }
}

template <typename T, bool kAccumulate>
QSTEP_AVX512 void backward_rows(T* dy, const T* dz, const T* y, const float* a, const float* b,
                                const float* c, std::int64_t stride, std::int64_t rows) {
    const Columns first = columns(a), second = columns(b), third = columns(c);
    for (std::int64_t i = 0; i < rows * stride; i += stride)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t at = i + 16 * v;
            __m512 value = _mm512_fmadd_ps(second.vector[v], load(y + at), third.vector[v]);
            value = _mm512_fmadd_ps(first.vector[v], load(dz + at), value);
            if constexpr (kAccumulate) value = _mm512_add_ps(value, load(dy + at));
            store(dy + at, value);
        }
}

// dout where the ReLU let its input through, which is also written to dz.
QSTEP_AVX512_INLINE __m512 masked(float* dz, const float* dout, const float* out) {
    const __mmask16 open = _mm512_cmp_ps_mask(load(out), _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 gradient = _mm512_maskz_loadu_ps(open, dout);
    store(dz, gradient);
    return gradient;
}
QSTEP_AVX512_INLINE __m512 masked(bf16* dz, const bf16* dout, const bf16* out) {
    // 0 < out and not NaN, on the bits: 1 to 0x7f80 (infinity).
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(out));
    const __mmask16 open = _mm256_cmp_epu16_mask(_mm256_sub_epi16(bits, _mm256_set1_epi16(1)),
                                                 _mm256_set1_epi16(0x7f7f), _MM_CMPINT_LE);
    const __m256i gradient = _mm256_maskz_loadu_epi16(open, dout);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dz), gradient);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(gradient), 16));
}

// At most kPartialRows rows.
template <typename T, bool kRelu>
QSTEP_AVX512_INLINE void reduce_part(Columns& sum, Columns& product, const Columns& middle, T* dz,
                                     const T* dout, const T* out, const T* y, std::int64_t stride,
                                     std::int64_t rows) {
    for (std::int64_t i = 0; i < rows * stride; i += stride)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t at = i + 16 * v;
            __m512 gradient;
            if constexpr (kRelu)
                gradient = masked(dz + at, dout + at, out + at);
            else
                gradient = load(dout + at);
            const __m512 deviation = _mm512_sub_ps(load(y + at), middle.vector[v]);
            sum.vector[v] = _mm512_add_ps(sum.vector[v], gradient);
            product.vector[v] = _mm512_fmadd_ps(gradient, deviation, product.vector[v]);
        }
}

template <typename T, bool kRelu>
QSTEP_AVX512 void reduce_rows(double* dbeta, double* centred, T* dz, const T* dout, const T* out, const T* y,
                              const float* mean, std::int64_t stride, std::int64_t rows) {
    const Columns middle = columns(mean);
    for (std::int64_t row = 0; row < rows; row += kPartialRows) {
        Columns sum = zero(), product = zero();
        const std::int64_t at = row * stride, part = rows - row < kPartialRows ? rows - row : kPartialRows;
        reduce_part<T, kRelu>(sum, product, middle, dz + at, dout + at, kRelu ? out + at : nullptr, y + at,
                              stride, part);
        add_to(dbeta, sum);
        add_to(centred, product);
    }
}

template <typename T>
QSTEP_AVX512 void moments_rows(double* sum, double* square_sum, const T* y, const float* shift,
                               std::int64_t stride, std::int64_t rows) {
    const Columns middle = columns(shift);
    for (std::int64_t row = 0; row < rows; row += kPartialRows) {
        Columns first = zero(), second = zero();
        const std::int64_t part = rows - row < kPartialRows ? rows - row : kPartialRows;
        const T* from = y + row * stride;
        for (std::int64_t i = 0; i < part * stride; i += stride)
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
                const __m512 value = _mm512_sub_ps(load(from + i + 16 * v), middle.vector[v]);
                first.vector[v] = _mm512_add_ps(first.vector[v], value);
                second.vector[v] = _mm512_fmadd_ps(value, value, second.vector[v]);
            }
        add_to(sum, first);
        add_to(square_sum, second);
    }
}

}  // namespace

template <typename T>
bool available() {
    static const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                                  (std::is_same_v<T, float> || __builtin_cpu_supports("avx512bf16"));
    return supported;
}

template <typename T>
void normalize(T* out, const T* y, const T* residual, bool relu, const float* scale, const float* shift,
               std::int64_t stride, std::int64_t rows) {
    const auto pass = residual ? (relu ? normalize_rows<T, true, true> : normalize_rows<T, true, false>)
                               : (relu ? normalize_rows<T, false, true> : normalize_rows<T, false, false>);
    pass(out, y, residual, scale, shift, stride, rows);
}

template <typename T>
void moments(double* sum, double* square_sum, const T* y, const float* shift, std::int64_t stride,
             std::int64_t rows) {
    std::fill_n(sum, kColumns, 0.0);
    std::fill_n(square_sum, kColumns, 0.0);
    moments_rows(sum, square_sum, y, shift, stride, rows);
}

template <typename T>
void reduce(double* dbeta, double* centred, T* dz, const T* dout, const T* out, const T* y, const float* mean,
            std::int64_t stride, std::int64_t rows) {
    std::fill_n(dbeta, kColumns, 0.0);
    std::fill_n(centred, kColumns, 0.0);
    const auto pass = out ? reduce_rows<T, true> : reduce_rows<T, false>;
    pass(dbeta, centred, dz, dout, out, y, mean, stride, rows);
}

template <typename T>
void backward(T* dy, bool accumulate, const T* dz, const T* y, const float* a, const float* b, const float* c,
              std::int64_t stride, std::int64_t rows) {
    const auto pass = accumulate ? backward_rows<T, true> : backward_rows<T, false>;
    pass(dy, dz, y, a, b, c, stride, rows);
}

#define QSTEP_INSTANTIATE(T)                                                                                \
    template bool available<T>();                                                                           \
    template void normalize<T>(T*, const T*, const T*, bool, const float*, const float*, std::int64_t,      \
                               std::int64_t);                                                               \
    template void moments<T>(double*, double*, const T*, const float*, std::int64_t, std::int64_t);         \
    template void reduce<T>(double*, double*, T*, const T*, const T*, const T*, const float*, std::int64_t, \
                            std::int64_t);                                                                  \
    template void backward<T>(T*, bool, const T*, const T*, const float*, const float*, const float*,       \
                              std::int64_t, std::int64_t)
QSTEP_INSTANTIATE(float);
QSTEP_INSTANTIATE(bf16);
#undef QSTEP_INSTANTIATE

}  // namespace qstep::cpu::avx512

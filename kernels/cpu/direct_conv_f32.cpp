// The direct convolution's loops in float32, compiled with AVX-512F and DQ.
#include <immintrin.h>

#include "kernels/cpu/direct_conv_kernels.h"

namespace qstep::cpu::direct {
namespace {

struct Type {
    using Element = float;
    static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
        return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
    }
    static __m512 load(const float* from) { return _mm512_loadu_ps(from); }
    static void store(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
    static constexpr int kWords = 16, kWordsOfThree = 3;
    static void copy_pixel(Word* to, const float* from, std::int64_t words) {
        if (words == kWords)
            _mm512_storeu_ps(to, _mm512_loadu_ps(from));
        else
            __builtin_memcpy(to, from, kWordsOfThree * sizeof(float));
    }
};

}  // namespace
}  // namespace qstep::cpu::direct

#include "kernels/cpu/direct_conv_avx512.h"

namespace qstep::cpu::direct {
namespace {

void fill_gradient(const FillGradient& fill) {
    const auto* dz = static_cast<const float*>(fill.dz);
    const auto* y = static_cast<const float*>(fill.y);
    for (std::int64_t row = 0; row < fill.rows; ++row)
        for (std::int64_t block = 0; block < fill.padded_layout.blocks; ++block) {
            Word* to = fill.padded + block * fill.padded_layout.block + row * fill.padded_layout.row;
            std::int64_t at = row * fill.columns * fill.channels + block * Type::kWords;
            if (!y) {
                for (std::int64_t q = 0; q < fill.columns; ++q, at += fill.channels)
                    _mm512_storeu_ps(to + q * Type::kWords, _mm512_loadu_ps(dz + at));
                continue;
            }
            const __m512 a = _mm512_loadu_ps(fill.a + block * Type::kWords);
            const __m512 b = _mm512_loadu_ps(fill.b + block * Type::kWords);
            const __m512 c = _mm512_loadu_ps(fill.c + block * Type::kWords);
            for (std::int64_t q = 0; q < fill.columns; ++q, at += fill.channels) {
                const __m512 shifted = _mm512_fmadd_ps(b, _mm512_loadu_ps(y + at), c);
                _mm512_storeu_ps(to + q * Type::kWords,
                                 _mm512_fmadd_ps(a, _mm512_loadu_ps(dz + at), shifted));
            }
        }
}

}  // namespace

const Kernels& f32_kernels() {
    static constexpr Kernels kernels = {fill_input, fill_gradient, nullptr, convolve_any,
                                        weight_gradient_any};
    return kernels;
}

}  // namespace qstep::cpu::direct

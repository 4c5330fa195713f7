// The direct convolution's loops in bfloat16, compiled with AVX512_BF16.
#include <immintrin.h>

#include "kernels/cpu/direct_conv_kernels.h"

namespace qstep::cpu::direct {
namespace {

struct Type {
    using Element = unsigned short;
    static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
    static __m512 load(const Element* from) {
        const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(from));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
    static __m256i round(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
    static void store(Element* to, __m512 x) {
        _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), round(x));
    }
    static __m256i load_pixel(const Element* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(from));
    }
    static constexpr int kWords = 8, kWordsOfThree = 2;  // two channels each
    static void copy_pixel(Word* to, const Element* from, std::int64_t words) {
        if (words == kWords) return _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), load_pixel(from));
        to[0] = static_cast<Word>(from[0]) | static_cast<Word>(from[1]) << 16;
        to[1] = from[2];
    }
};

}  // namespace
}  // namespace qstep::cpu::direct

#include "kernels/cpu/direct_conv_avx512.h"

namespace qstep::cpu::direct {
namespace {

// Word i: a[i] below, b[i] above.
__m512i interleave(__m256i a, __m256i b) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

struct Coefficients {
    __m512 a, b, c;
};

// dy at element `at`, rounded.
__m256i gradient_at(const FillGradient& fill, const Coefficients& k, std::int64_t at) {
    const auto* dz = static_cast<const Element*>(fill.dz) + at;
    if (!fill.y) return Type::load_pixel(dz);
    const __m512 y = Type::load(static_cast<const Element*>(fill.y) + at);
    return Type::round(_mm512_fmadd_ps(k.a, Type::load(dz), _mm512_fmadd_ps(k.b, y, k.c)));
}

void fill_gradient_row(const FillGradient& fill, const Coefficients& k, std::int64_t row,
                       std::int64_t block) {
    Word* padded =
        fill.padded ? fill.padded + block * fill.padded_layout.block + row * fill.padded_layout.row : nullptr;
    const std::int64_t pair_at = block * fill.pair_block + row * fill.pair_row;
    std::int64_t at = row * fill.columns * fill.channels + block * kLanes;
    __m256i before = _mm256_setzero_si256();  // the right half of the pair before
    const std::int64_t pairs = (fill.columns + 1) / 2;
    for (std::int64_t pair = 0; pair < pairs; ++pair) {
        const bool whole = 2 * pair + 1 < fill.columns;
        const __m256i left = gradient_at(fill, k, at);
        const __m256i right = whole ? gradient_at(fill, k, at + fill.channels) : _mm256_setzero_si256();
        at += 2 * fill.channels;
        if (padded) {
            Word* to = padded + 2 * pair * Type::kWords;
            _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), left);
            if (whole) _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to + Type::kWords), right);
        }
        if (fill.even) {
            _mm512_storeu_si512(fill.even + pair_at + pair * kLanes, interleave(left, right));
            _mm512_storeu_si512(fill.odd + pair_at + (pair - 1) * kLanes, interleave(before, left));
        }
        before = right;
    }
    if (fill.even)
        _mm512_storeu_si512(fill.odd + pair_at + (pairs - 1) * kLanes,
                            interleave(before, _mm256_setzero_si256()));
}

void fill_gradient(const FillGradient& fill) {
    for (std::int64_t row = 0; row < fill.rows; ++row)
        for (std::int64_t block = 0; block < fill.padded_layout.blocks; ++block) {
            Coefficients k{};
            if (fill.y) {
                k.a = _mm512_loadu_ps(fill.a + block * kLanes);
                k.b = _mm512_loadu_ps(fill.b + block * kLanes);
                k.c = _mm512_loadu_ps(fill.c + block * kLanes);
            }
            fill_gradient_row(fill, k, row, block);
        }
}

void fill_pairs_row(const FillPairs& fill, const Element* from, std::int64_t first, std::int64_t channels,
                    Word* to) {
    const std::int64_t count = (fill.width - first + fill.stride - 1) / fill.stride;
    for (std::int64_t pair = 0; 2 * pair < count; ++pair, to += channels) {
        const Element* left = from + (first + 2 * pair * fill.stride) * fill.channels;
        const Element* right = left + fill.stride * fill.channels;
        const bool whole = 2 * pair + 1 < count;
        if (channels == kLanes) {
            const __m256i b = whole ? Type::load_pixel(right) : _mm256_setzero_si256();
            _mm512_storeu_si512(to, interleave(Type::load_pixel(left), b));
            continue;
        }
        for (std::int64_t i = 0; i < channels; ++i)
            to[i] = static_cast<Word>(left[i]) | (whole ? static_cast<Word>(right[i]) << 16 : 0);
    }
}

void fill_pairs(const FillPairs& fill) {
    const std::int64_t channels = fill.channels < kLanes ? fill.channels : kLanes;
    const std::int64_t classes = fill.stride < fill.width ? fill.stride : fill.width;
    Word* to = fill.to;
    for (std::int64_t block = 0; block < fill.channels / channels; ++block)
        for (std::int64_t first = 0; first < classes; ++first)
            for (std::int64_t h = 0; h < fill.height; ++h) {
                const Element* from =
                    static_cast<const Element*>(fill.x) + h * fill.width * fill.channels + block * channels;
                fill_pairs_row(fill, from, first, channels, to);
                to += fill.pairs * channels;
            }
}

}  // namespace

const Kernels& bf16_kernels() {
    static constexpr Kernels kernels = {fill_input, fill_gradient, fill_pairs, convolve_any,
                                        weight_gradient_any};
    return kernels;
}

}  // namespace qstep::cpu::direct

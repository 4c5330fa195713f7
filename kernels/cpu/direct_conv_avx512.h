// The loops of the direct convolution, for the two files that define `Type`: how one element type is
// multiplied, loaded and stored. Everything is local to the including file, because it is compiled with
// instructions that the rest of the program must not contain.
//
//   struct Type {
//       using Element;                                   // of an activation in memory
//       static __m512 multiply_add(__m512 sum, __m512i a, __m512i b);   // lanes of words
//       static __m512 load(const Element*);              // 16 elements, widened
//       static void store(Element*, __m512);             // 16 elements, rounded
//       static constexpr int kWords, kWordsOfThree;      // words of a pixel of 16 and of 3 channels
//       static void copy_pixel(Word*, const Element*, std::int64_t words);
//   };
#pragma once

#include <immintrin.h>

#include "kernels/cpu/direct_conv_kernels.h"

namespace qstep::cpu::direct {
namespace {

using Element = Type::Element;

inline __m512i broadcast(const Word* word) {
    return _mm512_set1_epi32(static_cast<int>(*word));
}

// Called after each `operations` multiply-adds.
inline void prefetch_step(Prefetch& prefetch, std::int64_t operations) {
    constexpr std::int64_t kLine = 64;
    prefetch.due += static_cast<float>(operations) * prefetch.bytes_per_operation;
    while (prefetch.due >= kLine && prefetch.count > 0) {
        Prefetch::Stream& stream = prefetch.streams[prefetch.count - 1];
        if (stream.bytes <= 0) {
            --prefetch.count;
            continue;
        }
        _mm_prefetch(stream.at, _MM_HINT_T1);
        stream.at += kLine;
        stream.bytes -= kLine;
        prefetch.due -= kLine;
    }
}

// ---- padded copy ----

void fill_input(const FillInput& fill) {
    const PaddedLayout& layout = fill.layout;
    for (std::int64_t h = 0; h < fill.height; ++h) {
        if ((h + fill.pad) % fill.stride >= fill.kernel_h) continue;
        const Element* x = static_cast<const Element*>(fill.x) + h * fill.width * fill.channels;
        Word* row = fill.to + (h + fill.pad) * layout.row;
        for (std::int64_t plane = 0; plane < layout.planes; ++plane) {
            std::int64_t w = plane - fill.pad;
            while (w < 0) w += fill.stride;
            for (std::int64_t block = 0; block < layout.blocks; ++block) {
                Word* to = row + block * layout.block + plane * layout.plane +
                           (w + fill.pad) / fill.stride * layout.words;
                const Element* from = x + w * fill.channels + block * kLanes;
                for (std::int64_t column = w; column < fill.width; column += fill.stride) {
                    Type::copy_pixel(to, from, layout.words);
                    to += layout.words;
                    from += fill.stride * fill.channels;
                }
            }
        }
    }
}

// ---- forward and data gradient ----

// sums[p][q] += source[p + tap][word] * weights[word][tap][q] for K neighbouring taps. Each broadcast pixel
// serves all the taps it belongs to.
template <int P, int Q, int K, int W>
inline void accumulate_run(__m512 (&sums)[P][Q], const Word* source, const Word*& weights) {
    for (int word = 0; word < W; ++word) {
        __m512i w[K][Q];
#pragma GCC unroll 3
        for (int k = 0; k < K; ++k)
#pragma GCC unroll 2
            for (int q = 0; q < Q; ++q) w[k][q] = _mm512_loadu_si512(weights + (k * Q + q) * kLanes);
#pragma GCC unroll 32
        for (int pixel = 0; pixel < P + K - 1; ++pixel) {
            const __m512i x = broadcast(source + pixel * W + word);
#pragma GCC unroll 3
            for (int k = 0; k < K; ++k) {
                const int p = pixel - k;
                if (p < 0 || p >= P) continue;
#pragma GCC unroll 2
                for (int q = 0; q < Q; ++q) sums[p][q] = Type::multiply_add(sums[p][q], x, w[k][q]);
            }
        }
        weights += K * Q * kLanes;
    }
}

// One tile of P pixels by Q vectors of channels; the first `valid` pixels are written.
template <int P, int Q, int K0, int K1, int W>
inline void convolve_tile(const ConvPass& pass, const Word* source, const Word* weights, int blocks,
                          Element* out, std::int64_t valid, bool add) {
    __m512 sums[P][Q];
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int q = 0; q < Q; ++q)
            sums[p][q] =
                add && p < valid ? Type::load(out + p * pass.out_pixel + q * kLanes) : _mm512_setzero_ps();
    for (int block = 0; block < blocks; ++block) {
        for (int row = 0; row < pass.row_taps; ++row) {
            const Word* from = source + pass.row_tap[row];
            accumulate_run<P, Q, K0, W>(sums, from + pass.run[0], weights);
            if constexpr (K1 > 0) accumulate_run<P, Q, K1, W>(sums, from + pass.run[1], weights);
        }
        source += pass.source_block;
    }
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int q = 0; q < Q; ++q)
            if (p < valid) Type::store(out + p * pass.out_pixel + q * kLanes, sums[p][q]);
}

inline void add_to_doubles(double* to, __m512 x) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), low));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(_mm512_loadu_pd(to + 8), high));
}

// Moments of one row of 16 channels. float32 sums are at most kMomentRun pixels long.
void add_moments(const Moments& moments, std::int64_t channel, const Element* row, std::int64_t columns,
                 std::int64_t pixel, bool choose_shift) {
    constexpr std::int64_t kMomentRun = 64;
    if (choose_shift) {
        __m512 sum = _mm512_setzero_ps();
        for (std::int64_t q = 0; q < columns; ++q) sum = _mm512_add_ps(sum, Type::load(row + q * pixel));
        const __m512 mean = _mm512_div_ps(sum, _mm512_set1_ps(static_cast<float>(columns)));
        _mm512_storeu_ps(moments.shift + channel, mean);
    }
    const __m512 shift = _mm512_loadu_ps(moments.shift + channel);
    for (std::int64_t begin = 0; begin < columns; begin += kMomentRun) {
        const std::int64_t end = begin + kMomentRun < columns ? begin + kMomentRun : columns;
        __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, square[2] = {sum[0], sum[0]};
        std::int64_t q = begin;
        for (; q + 1 < end; q += 2) {
            const __m512 x0 = _mm512_sub_ps(Type::load(row + q * pixel), shift);
            const __m512 x1 = _mm512_sub_ps(Type::load(row + (q + 1) * pixel), shift);
            sum[0] = _mm512_add_ps(sum[0], x0);
            sum[1] = _mm512_add_ps(sum[1], x1);
            square[0] = _mm512_fmadd_ps(x0, x0, square[0]);
            square[1] = _mm512_fmadd_ps(x1, x1, square[1]);
        }
        if (q < end) {
            const __m512 x = _mm512_sub_ps(Type::load(row + q * pixel), shift);
            sum[0] = _mm512_add_ps(sum[0], x);
            square[0] = _mm512_fmadd_ps(x, x, square[0]);
        }
        add_to_doubles(moments.sum + channel, _mm512_add_ps(sum[0], sum[1]));
        add_to_doubles(moments.square_sum + channel, _mm512_add_ps(square[0], square[1]));
    }
}

template <int P, int Q, int K0, int K1, int W>
void convolve_rows(const ConvPass& pass) {
    const std::int64_t block_weights = std::int64_t{pass.row_taps} * (K0 + K1) * W * Q * kLanes;
    const std::int64_t tile_operations = std::int64_t{pass.row_taps} * (K0 + K1) * W * P * Q;
    const Word* weights = pass.weights;
    for (std::int64_t channel = 0; channel < pass.channels; channel += Q * kLanes)
        for (int block = 0; block < pass.blocks; block += pass.group) {
            const int blocks = pass.blocks - block < pass.group ? pass.blocks - block : pass.group;
            const bool add = pass.accumulate || block > 0;
            const bool last = block + blocks == pass.blocks;
            for (std::int64_t r = 0; r < pass.rows; ++r) {
                const Word* source = pass.source + block * pass.source_block + r * pass.source_row_step;
                Element* out = static_cast<Element*>(pass.out) + r * pass.out_row + channel;
                for (std::int64_t q = 0; q < pass.columns; q += P) {
                    convolve_tile<P, Q, K0, K1, W>(pass, source + q * W, weights, blocks,
                                                   out + q * pass.out_pixel, pass.columns - q, add);
                    prefetch_step(*pass.prefetch, blocks * tile_operations);
                }
                if (last && pass.moments)
                    for (int v = 0; v < Q; ++v)
                        add_moments(*pass.moments, channel + v * kLanes, out + v * kLanes, pass.columns,
                                    pass.out_pixel, pass.moments->first && r == 0);
            }
            weights += blocks * block_weights;
        }
}

template <int Q, int W>
void convolve_by_runs(const ConvPass& pass) {
    constexpr int P = Q == 1 ? 16 : 8;  // direct_conv_plan.cpp: tile_pixels
    if (pass.run_taps[0] == 3) return convolve_rows<P, Q, 3, 0, W>(pass);
    if (pass.run_taps[0] == 2 && pass.run_taps[1] == 1) return convolve_rows<P, Q, 2, 1, W>(pass);
    if (pass.run_taps[0] == 2) return convolve_rows<P, Q, 2, 0, W>(pass);
    if (pass.run_taps[1] == 1) return convolve_rows<P, Q, 1, 1, W>(pass);
    return convolve_rows<P, Q, 1, 0, W>(pass);
}

void convolve_any(const ConvPass& pass) {
    if (pass.words == Type::kWords) {
        if (pass.vectors == 2) return convolve_by_runs<2, Type::kWords>(pass);
        return convolve_by_runs<1, Type::kWords>(pass);
    }
    if (pass.vectors == 2) return convolve_by_runs<2, Type::kWordsOfThree>(pass);
    return convolve_by_runs<1, Type::kWordsOfThree>(pass);
}

// ---- weight gradient ----

// Sums of K column taps by I input channels over `rows` rows of `steps` pixels or pairs, added to dw.
template <int K, int I>
inline void weight_tile(const WeightPass& pass, const Word* x, std::int64_t x_row, const Word* const* dy,
                        std::int64_t rows, float* dw) {
    __m512 sums[K][I];
#pragma GCC unroll 3
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 16
        for (int i = 0; i < I; ++i) sums[k][i] = _mm512_setzero_ps();
    for (std::int64_t r = 0; r < rows; ++r) {
        const Word* from = x + r * x_row;
        const std::int64_t dy_at = r * pass.dy_row;
        for (std::int64_t step = 0; step < pass.steps; ++step) {
            __m512i g[K];
#pragma GCC unroll 3
            for (int k = 0; k < K; ++k) g[k] = _mm512_loadu_si512(dy[k] + dy_at + step * kLanes);
#pragma GCC unroll 16
            for (int i = 0; i < I; ++i) {
                const __m512i value = broadcast(from + i);
#pragma GCC unroll 3
                for (int k = 0; k < K; ++k) sums[k][i] = Type::multiply_add(sums[k][i], value, g[k]);
            }
            from += pass.x_step;
        }
        prefetch_step(*pass.prefetch, pass.steps * K * I);
    }
#pragma GCC unroll 3
    for (int k = 0; k < K; ++k) {
        float* to = dw + pass.tap[k] * pass.words * kLanes;
#pragma GCC unroll 16
        for (int i = 0; i < I; ++i)
            _mm512_storeu_ps(to + i * kLanes, _mm512_add_ps(_mm512_loadu_ps(to + i * kLanes), sums[k][i]));
    }
}

template <int K, int I>
void weight_rows(const WeightPass& pass) {
    for (std::int64_t group = 0; group < pass.rows; group += pass.row_group) {
        const std::int64_t group_end =
            group + pass.row_group < pass.rows ? group + pass.row_group : pass.rows;
        float* dw = pass.dw;
        for (int ob = 0; ob < pass.out_blocks; ++ob)
            for (int ib = 0; ib < pass.in_blocks; ++ib) {
                for (std::int64_t ky = 0; ky < pass.kernel_h; ++ky) {
                    // Rows of dy whose row of x, r*stride + ky - pad, lies inside the image.
                    std::int64_t first = group, end = group_end;
                    while (first < end && first * pass.stride + ky < pass.pad) ++first;
                    while (end > first && (end - 1) * pass.stride + ky - pass.pad >= pass.height) --end;
                    if (first < end) {
                        const Word* dy[K];
                        for (int k = 0; k < K; ++k)
                            dy[k] = pass.dy[k] + ob * pass.dy_block + first * pass.dy_row;
                        const Word* x =
                            pass.x + ib * pass.x_block + (first * pass.stride + ky - pass.pad) * pass.x_row;
                        for (int i = 0; i < pass.words; i += I)
                            weight_tile<K, I>(pass, x + i, pass.stride * pass.x_row, dy, end - first,
                                              dw + i * kLanes);
                    }
                    dw += pass.kernel_w * pass.words * kLanes;
                }
            }
    }
}

void weight_gradient_any(const WeightPass& pass) {
    if (pass.words == 3) {
        if (pass.taps == 3) return weight_rows<3, 3>(pass);
        if (pass.taps == 2) return weight_rows<2, 3>(pass);
        return weight_rows<1, 3>(pass);
    }
    if (pass.taps == 3) return weight_rows<3, 8>(pass);
    if (pass.taps == 2) return weight_rows<2, 8>(pass);
    return weight_rows<1, 16>(pass);
}

}  // namespace
}  // namespace qstep::cpu::direct

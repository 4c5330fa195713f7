// Stages of a Walsh-Hadamard transform in place, as loops that are vectorised: a pass over x makes up to
// three. Stage h: x[i], x[i + h] = x[i] + x[i + h], x[i] - x[i + h] for all i with i / h even.
#pragma once

#include <cstdint>

namespace qstep::quant::cpu {

inline void one_stage(float* x, std::int64_t h) {
    float* y = x + h;
#pragma omp simd
    for (std::int64_t i = 0; i < h; ++i) {
        const float a = x[i], b = y[i];
        x[i] = a + b;
        y[i] = a - b;
    }
}

inline void two_stages(float* x, std::int64_t h) {
    float *x1 = x + h, *x2 = x1 + h, *x3 = x2 + h;
#pragma omp simd
    for (std::int64_t i = 0; i < h; ++i) {
        const float a0 = x[i] + x1[i], a1 = x[i] - x1[i], a2 = x2[i] + x3[i], a3 = x2[i] - x3[i];
        x[i] = a0 + a2;
        x1[i] = a1 + a3;
        x2[i] = a0 - a2;
        x3[i] = a1 - a3;
    }
}

inline void three_stages(float* x, std::int64_t h) {
    float *x1 = x + h, *x2 = x1 + h, *x3 = x2 + h, *x4 = x3 + h, *x5 = x4 + h, *x6 = x5 + h, *x7 = x6 + h;
#pragma omp simd
    for (std::int64_t i = 0; i < h; ++i) {
        const float a0 = x[i] + x1[i], a1 = x[i] - x1[i], a2 = x2[i] + x3[i], a3 = x2[i] - x3[i];
        const float a4 = x4[i] + x5[i], a5 = x4[i] - x5[i], a6 = x6[i] + x7[i], a7 = x6[i] - x7[i];
        const float b0 = a0 + a2, b1 = a1 + a3, b2 = a0 - a2, b3 = a1 - a3;
        const float b4 = a4 + a6, b5 = a5 + a7, b6 = a4 - a6, b7 = a5 - a7;
        x[i] = b0 + b4;
        x1[i] = b1 + b5;
        x2[i] = b2 + b6;
        x3[i] = b3 + b7;
        x4[i] = b0 - b4;
        x5[i] = b1 - b5;
        x6[i] = b2 - b6;
        x7[i] = b3 - b7;
    }
}

inline void first_three_stages(float* x) {
    float y[8];
    for (int i = 0; i < 8; i += 2) {
        y[i] = x[i] + x[i + 1];
        y[i + 1] = x[i] - x[i + 1];
    }
    float z[8];
    for (int i = 0; i < 8; i += 4)
        for (int k = i; k < i + 2; ++k) {
            z[k] = y[k] + y[k + 2];
            z[k + 2] = y[k] - y[k + 2];
        }
    for (int i = 0; i < 4; ++i) {
        x[i] = z[i] + z[i + 4];
        x[i + 4] = z[i] - z[i + 4];
    }
}

/// The stages h = from, 2 from, ...: as many as fit into a pass, three at most.
inline void stages(float* x, std::int64_t n, std::int64_t from) {
    std::int64_t h = from;
    for (; 8 * h <= n; h *= 8)
        for (std::int64_t i = 0; i < n; i += 8 * h) three_stages(x + i, h);
    if (4 * h <= n) {
        for (std::int64_t i = 0; i < n; i += 4 * h) two_stages(x + i, h);
        h *= 4;
    }
    if (2 * h <= n)
        for (std::int64_t i = 0; i < n; i += 2 * h) one_stage(x + i, h);
}

}  // namespace qstep::quant::cpu

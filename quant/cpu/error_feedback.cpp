#include "quant/error_feedback.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace qstep::quant::cpu {

namespace {

QSTEP_CLONES void compensate_range(const FeedbackArrays& arrays, std::int64_t begin, std::int64_t end,
                                   float alpha) {
    float* __restrict out = arrays.quantized;
    const float *g = arrays.gradient, *h = arrays.residual;
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) out[i] = compensated(g[i], h[i], alpha);
}

QSTEP_CLONES void keep_range(const FeedbackArrays& arrays, std::int64_t begin, std::int64_t end, float beta) {
    const float *g = arrays.gradient, *q = arrays.quantized;
    float* __restrict h = arrays.residual;
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) h[i] = next_residual(h[i], g[i], q[i], beta);
}

}  // namespace

void compensate(Context& context, const FeedbackArrays& arrays, float alpha) {
    qstep::cpu::parallel_elements(context, arrays.count, [&](std::int64_t begin, std::int64_t end) {
        compensate_range(arrays, begin, end, alpha);
    });
}

void keep_rest(Context& context, const FeedbackArrays& arrays, float beta) {
    qstep::cpu::parallel_elements(context, arrays.count, [&](std::int64_t begin, std::int64_t end) {
        keep_range(arrays, begin, end, beta);
    });
}

}  // namespace qstep::quant::cpu

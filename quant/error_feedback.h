// Error feedback, a decorator over any codec Q: what rounding takes from one step's gradient is kept in a
// residual h and added to later ones (ECQ-SGD: Wu, Huang, Huang, Zhang, "Error compensated quantized SGD and
// its applications to large-scale distributed optimization", 2018, equations 4 to 6).
//
//   v = g + alpha h;  q = Q(v);  h <- beta h + (g - q)
//
// alpha = beta = 1, the default, is plain error feedback (Karimireddy et al., "Error feedback fixes SignSGD
// and other gradient compression schemes", 2019): nothing is ever lost, sum of q + h = sum of g. alpha = 0 is
// the codec alone. Of a codec whose error is at most a share gamma of its input, ||Q(v) - v||^2 <= gamma
// ||v||^2 in the mean, the residual stays bounded where alpha^2 gamma + (beta - alpha)^2 < 1. So plain error
// feedback is for gamma < 1; a coarse unbiased codec on large buckets is beyond that (QSGD's l2 norm: gamma
// up to sqrt(n)/s) and needs a smaller alpha, or else the residual grows from step to step.
//
// Beside the codec's own bytes an element costs 12 (v) and 16 (h), and the update cannot be made in the
// codec's launch: on a GPU 36 + 20 bytes for buckets up to a chunk, 56 us for 4 M elements at 4.3 TB/s. All
// is float32 without contraction, element by element, so the bits are the same on all devices.
#pragma once

#include <memory>

#include "engine/context.h"
#include "engine/macros.h"
#include "quant/codec.h"

namespace qstep {

/// The codec, made for element_count elements, in that loop. The residual lies where set_residual() says.
/// quantize(): out must not overlap in; variance is that of rounding v. A gradient that is not finite, or a v
/// beyond the largest float, makes the variance NaN, and the residual of its bucket too: whoever sees it
/// stops and goes back to what was saved before.
std::unique_ptr<GradientCodec> with_error_feedback(std::unique_ptr<GradientCodec> codec,
                                                   std::int64_t element_count);

namespace quant {

/// One element's v and next h.
QSTEP_HOST_DEVICE inline float compensated(float gradient, float residual, float alpha) {
    return gradient + alpha * residual;
}
/// beta * residual + what quantizing took away.
QSTEP_HOST_DEVICE inline float next_residual(float residual, float gradient, float quantized, float beta) {
    return beta * residual + (gradient - quantized);
}

/// What the two passes work on: f32 [count] each, in device memory.
struct FeedbackArrays {
    float* quantized;  // v before the codec, q behind it
    const float* gradient;
    float* residual;
    std::int64_t count;
};

namespace cpu {
/// quantized = v.
void compensate(Context& context, const FeedbackArrays& arrays, float alpha);
/// residual = the next h.
void keep_rest(Context& context, const FeedbackArrays& arrays, float beta);
}  // namespace cpu
namespace cuda {
/// As on the CPU.
void compensate(Context& context, const FeedbackArrays& arrays, float alpha);
/// As on the CPU.
void keep_rest(Context& context, const FeedbackArrays& arrays, float beta);
}  // namespace cuda

}  // namespace quant

}  // namespace qstep

// The end of a step: one block, 84 bytes, 20 ps at 4.3 TB/s, so a launch and two dependent reads, some 2 us,
// are what it costs. Only after a fault does it read the gradient: 4 bytes and a comparison an element, by a
// single block.
#include "kernels/step_end.h"

#include <limits>

#include "kernels/cuda/device/launch.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

constexpr int kThreads = 256;

struct Pointers {
    const float* loss;
    const double* variance;
    const float* gradient;
    std::int64_t count;
    double* variance_sum;
    std::int64_t* fault;
    float* fault_loss;
    std::int64_t *step, *batch;
    const float* rates;
    std::int64_t batches;
    float* learning_rate;
};

__device__ bool is_finite(float x) {
    return fabsf(x) <= std::numeric_limits<float>::max();
}

__global__ void __launch_bounds__(kThreads) end_kernel(Pointers p) {
    QSTEP_SHARED std::int64_t firsts[kThreads];
    const int thread = static_cast<int>(threadIdx.x);
    wait_for_predecessor();
    const float loss = *p.loss;
    const double variance = *p.variance;
    const bool faulty = *p.fault < 0 && !(is_finite(loss) && variance == variance);
    if (faulty) {
        std::int64_t at = thread;
        while (at < p.count && is_finite(p.gradient[at])) at += kThreads;
        firsts[thread] = at < p.count ? at : p.count;
    }
    // All have read what thread 0 overwrites.
    __syncthreads();
    if (thread != 0) return;
    if (faulty) {
        std::int64_t first = p.count;
        for (int t = 0; t < kThreads; ++t) first = firsts[t] < first ? firsts[t] : first;
        p.fault[0] = *p.step;
        p.fault[1] = first < p.count ? first : -1;
        *p.fault_loss = loss;
    }
    *p.variance_sum += variance;
    *p.step += 1;
    const std::int64_t batch = *p.batch + 1;
    *p.batch = batch;
    if (batch >= 0 && batch < p.batches) *p.learning_rate = p.rates[batch];
}

}  // namespace

void end_step(Context& context, const StepEnd& end) {
    qstep::detail::check_step_end(end);
    const Pointers pointers{end.loss.as<float>(),
                            end.variance.as<double>(),
                            end.gradient.as<float>(),
                            end.gradient.count(),
                            end.variance_sum.as<double>(),
                            end.fault.as<std::int64_t>(),
                            end.fault_loss.as<float>(),
                            end.step.as<std::int64_t>(),
                            end.batch.as<std::int64_t>(),
                            end.rates.as<float>(),
                            end.rates.count(),
                            end.learning_rate.as<float>()};
    launch(context, "end_step", end_kernel, {1, kThreads}, pointers);
}

}  // namespace qstep::cuda

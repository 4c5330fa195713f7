// The two passes of error feedback around a codec: 12 and 16 bytes an element, 47 and 62 us for 16 M elements
// at 4.3 TB/s; for the 272,474 elements of ResNet-20 one launch's latency each.
#include "quant/error_feedback.h"

#include "kernels/cuda/device/map.cuh"

namespace qstep::quant::cuda {

namespace {

using qstep::cuda::aligned_for_vectors;
using qstep::cuda::kVectorOf;
using qstep::cuda::launch_map;
using qstep::cuda::load_floats;
using qstep::cuda::store_floats;

struct Compensate {
    FeedbackArrays arrays;
    float alpha;

    static constexpr int kVector = kVectorOf<float>;
    template <int kCount>
    struct Inputs {
        float gradient[kCount], residual[kCount];
    };
    __device__ void begin() {}
    template <int kCount>
    __device__ Inputs<kCount> load(std::int64_t at) const {
        Inputs<kCount> inputs;
        load_floats(inputs.gradient, arrays.gradient + at);
        load_floats(inputs.residual, static_cast<const float*>(arrays.residual) + at);
        return inputs;
    }
    template <int kCount>
    __device__ void store(std::int64_t at, const Inputs<kCount>& inputs) const {
        float out[kCount];
#pragma unroll
        for (int i = 0; i < kCount; ++i) out[i] = compensated(inputs.gradient[i], inputs.residual[i], alpha);
        store_floats(arrays.quantized + at, out);
    }
};

struct KeepRest {
    FeedbackArrays arrays;
    float beta;

    static constexpr int kVector = kVectorOf<float>;
    template <int kCount>
    struct Inputs {
        float gradient[kCount], quantized[kCount], residual[kCount];
    };
    __device__ void begin() {}
    template <int kCount>
    __device__ Inputs<kCount> load(std::int64_t at) const {
        Inputs<kCount> inputs;
        load_floats(inputs.gradient, arrays.gradient + at);
        load_floats(inputs.quantized, static_cast<const float*>(arrays.quantized) + at);
        load_floats(inputs.residual, static_cast<const float*>(arrays.residual) + at);
        return inputs;
    }
    template <int kCount>
    __device__ void store(std::int64_t at, const Inputs<kCount>& inputs) const {
        float out[kCount];
#pragma unroll
        for (int i = 0; i < kCount; ++i)
            out[i] = next_residual(inputs.residual[i], inputs.gradient[i], inputs.quantized[i], beta);
        store_floats(arrays.residual + at, out);
    }
};

bool vectors(const FeedbackArrays& arrays) {
    return aligned_for_vectors(arrays.quantized, arrays.gradient, arrays.residual);
}

}  // namespace

void compensate(Context& context, const FeedbackArrays& arrays, float alpha) {
    launch_map(context, "error feedback, before", Compensate{arrays, alpha}, arrays.count, vectors(arrays));
}

void keep_rest(Context& context, const FeedbackArrays& arrays, float beta) {
    launch_map(context, "error feedback, behind", KeepRest{arrays, beta}, arrays.count, vectors(arrays));
}

}  // namespace qstep::quant::cuda

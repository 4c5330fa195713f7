// Dropout, by Srivastava et al., 2014, in its inverted form: kept elements are scaled while training.
//
// 8 / 4 bytes an element (f32 / bf16; accumulating 12 / 6) and a quarter of a Philox block, some 15 integer
// operations; [128,4096] (0.5 M elements, AlexNet) takes 1.0 us / 0.5 us at 4.3 TB/s.
#include "kernels/activation.h"
#include "kernels/cuda/device/map.cuh"
#include "kernels/cuda/device/seed.cuh"
#include "kernels/float_types.h"

namespace qstep::cuda {

namespace {

template <typename T, bool kAccumulate>
struct Dropout {
    T* to;
    const T* from;
    const std::int64_t *seed, *step;
    std::uint32_t layer;
    RandomStream stream;  // once it has begun
    float probability, scale;

    template <int kCount>
    struct Inputs {
        Packed<T, kCount> from, old;
    };
    static constexpr int kVector = kVectorOf<T>;
    __device__ void begin() {
        stream = {seed_of_warp(seed) + (std::uint64_t{layer} << 32), Purpose::dropout,
                  static_cast<std::uint32_t>(*step)};
    }
    template <int kCount>
    __device__ Inputs<kCount> load(std::int64_t at) const {
        Inputs<kCount> inputs{};
        inputs.from = cuda::load<kCount>(from + at);
        if constexpr (kAccumulate) inputs.old = cuda::load<kCount>(static_cast<const T*>(to) + at);
        return inputs;
    }
    template <int kCount>
    __device__ void store(std::int64_t at, const Inputs<kCount>& inputs) const {
        float value[kCount], old[kCount], uniform[kCount];
        unpack(value, inputs.from);
        if constexpr (kAccumulate) unpack(old, inputs.old);
        draw(uniform, static_cast<std::uint64_t>(at));
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            value[i] = uniform[i] >= probability ? value[i] * scale : 0.0f;
            if constexpr (kAccumulate) value[i] += old[i];
        }
        store_floats(to + at, value);
    }
    // Vectors begin at multiples of their length.
    template <int kCount>
    __device__ void draw(float (&uniform)[kCount], std::uint64_t at) const {
        if constexpr (kCount == 1) {
            uniform[0] = stream.uniform(at);
        } else {
#pragma unroll
            for (int i = 0; i < kCount; i += 4) {
                const Draw4 draw = stream.block((at + static_cast<std::uint64_t>(i)) / 4);
#pragma unroll
                for (int k = 0; k < 4; ++k) uniform[i + k] = uniform_from_bits(draw.word[k]);
            }
        }
    }
};

void dropout(Context& context, const Tensor& to, GradMode mode, const Tensor& from, float probability,
             const DropoutKey& key) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_dropout(to, from, probability, key);
    const float scale = 1.0f / (1.0f - probability);
    with_float_type(from.dtype, "dropout's input", [&]<typename T>(T) {
        const auto run = [&](const auto& map) {
            launch_map(context, "dropout", map, from.count(), aligned_for_vectors(map.to, map.from));
        };
        const auto *seed = key.seed.as<std::int64_t>(), *step = key.step.as<std::int64_t>();
        if (mode == GradMode::accumulate)
            run(Dropout<T, true>{to.as<T>(), from.as<T>(), seed, step, key.layer, {}, probability, scale});
        else
            run(Dropout<T, false>{to.as<T>(), from.as<T>(), seed, step, key.layer, {}, probability, scale});
    });
}

}  // namespace

void dropout_forward(Context& context, const Tensor& out, const Tensor& x, float probability,
                     const DropoutKey& key) {
    dropout(context, out, GradMode::overwrite, x, probability, key);
}

void dropout_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout,
                      float probability, const DropoutKey& key) {
    dropout(context, dx, mode, dout, probability, key);
}

}  // namespace qstep::cuda

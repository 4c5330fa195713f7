// Dropout, by Srivastava et al., 2014, in its inverted form: kept elements are scaled while training.
#include "kernels/activation.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

// Elements handled at once: 16 Philox blocks of 4, one 512-bit vector of each word.
constexpr std::int64_t kBlocks = 16;
constexpr std::int64_t kChunk = 4 * kBlocks;

struct Mask {
    RandomStream stream;
    float probability, scale;
};

Mask mask_of(float probability, const DropoutKey& key) {
    const auto step = static_cast<std::uint32_t>(key.step.as<std::int64_t>()[0]);
    const std::uint64_t seed =
        static_cast<std::uint64_t>(key.seed.as<std::int64_t>()[0]) + (std::uint64_t{key.layer} << 32);
    return {{seed, Purpose::dropout, step}, probability, 1.0f / (1.0f - probability)};
}

// first: the range's first element in the stream, a multiple of kChunk.
template <typename T, bool kAccumulate>
QSTEP_CLONES void dropout_range(T* to, const T* from, std::int64_t first, std::int64_t count, Mask mask) {
    float uniform[kChunk];
    for (std::int64_t i = 0; i < count; i += kChunk) {
        const auto block = static_cast<std::uint64_t>(first + i) / 4;
#pragma omp simd
        for (std::int64_t b = 0; b < kBlocks; ++b) {
            const Draw4 draw = mask.stream.block(block + static_cast<std::uint64_t>(b));
            uniform[4 * b] = uniform_from_bits(draw.word[0]);
            uniform[4 * b + 1] = uniform_from_bits(draw.word[1]);
            uniform[4 * b + 2] = uniform_from_bits(draw.word[2]);
            uniform[4 * b + 3] = uniform_from_bits(draw.word[3]);
        }
        const std::int64_t width = std::min(kChunk, count - i);
#pragma omp simd
        for (std::int64_t j = 0; j < width; ++j) {
            float value = uniform[j] >= mask.probability ? to_float(from[i + j]) * mask.scale : 0.0f;
            if constexpr (kAccumulate) value += to_float(to[i + j]);
            to[i + j] = from_float<T>(value);
        }
    }
}

void dropout(Context& context, const Tensor& to, GradMode mode, const Tensor& from, float probability,
             const DropoutKey& key) {
    if (mode == GradMode::skip) return;
    qstep::detail::check_dropout(to, from, probability, key);
    const Mask mask = mask_of(probability, key);
    const bool accumulate = mode == GradMode::accumulate;
    with_float_type(from.dtype, "dropout's input", [&]<typename T>(T) {
        auto* target = to.as<T>();
        const auto* source = from.as<T>();
        parallel_ranges(context, from.count(), kChunk, 1, [=](std::int64_t begin, std::int64_t end) {
            if (accumulate)
                dropout_range<T, true>(target + begin, source + begin, begin, end - begin, mask);
            else
                dropout_range<T, false>(target + begin, source + begin, begin, end - begin, mask);
        });
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

}  // namespace qstep::cpu

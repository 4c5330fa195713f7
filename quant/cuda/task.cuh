// What the kernels of one quantize() call share, and the steps that all CUDA codecs have in common.
#pragma once

#include "engine/tensor.h"
#include "kernels/cuda/device/seed.cuh"
#include "quant/buckets.h"
#include "quant/codec.h"

namespace qstep::quant::cuda {

struct Task {
    const float* in;
    Buckets buckets;
    Parameters parameters;
    /// Device memory.
    const std::int64_t *seed, *step;
    bool nearest;
    /// Whether `in` suits 16-byte accesses.
    bool vectors;
    /// Of a whole bucket, and of the last one (smart).
    std::int64_t candidates = 0, last_candidates = 0;

    QSTEP_HOST_DEVICE std::uint32_t step_number() const { return static_cast<std::uint32_t>(*step); }
    /// All threads of the warp take part in this and what follows.
    __device__ RandomStream stream(Purpose purpose) const {
        return {qstep::cuda::seed_of_warp(seed), purpose, step_number()};
    }
    /// Draws of element 0, 1, ...
    __device__ Draws draws() const {
        return {{qstep::cuda::seed_of_warp(seed), Purpose::rounding, step_number()}, 0, nearest};
    }
    __device__ FitContext fit_context(std::int64_t bucket, void* scratch) const {
        return {qstep::cuda::seed_of_warp(seed),
                step_number(),
                parameters,
                bucket,
                bucket == buckets.count() - 1 ? last_candidates : candidates,
                scratch};
    }
};

/// Checks the arguments of a codec for `buckets` and gathers them. seed: in device memory.
Task make_task(const CodecSettings& settings, const std::int64_t* seed, const Buckets& buckets,
               const Tensor& in, const Tensor& step, const Tensor& variance);

/// Task of a codec that decodes a stream, in device memory, of its own settings; seed and step are the
/// stream's.
Task decoding_task(const CodecSettings& settings, const Buckets& buckets, const std::uint8_t* stream);

/// The header of the codec's stream at `stream`, with the step that lies in device memory.
void write_stream_header(Context& context, const GradientCodec& codec, std::uint8_t* stream,
                         const std::int64_t* step);

/// variance = sum of `count` spreads: `run` neighbours at a time in turn, then in the order of quant/group.h.
void write_total(Context& context, const double* spreads, std::int64_t count, std::int64_t run,
                 const Tensor& variance);

}  // namespace qstep::quant::cuda

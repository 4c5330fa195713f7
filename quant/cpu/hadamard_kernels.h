// The steps of Hadamard on the CPU, compiled for one instruction set.
#pragma once

#include "quant/cpu/isa.h"
#include "quant/hadamard.h"

namespace qstep::quant::cpu {

/// Whole buckets of n elements, padded to at most kChunk; y: [padded], the caller's.
struct WholeHadamard {
    std::int64_t n, padded;
    float* y;
    Signs signs;
};

struct HadamardKernels {
    /// past_caches: as BucketKernels.
    double (*quantize)(float* out, const float* x, const WholeHadamard& bucket, const Parameters& parameters,
                       const Draws& draws, bool past_caches);
    /// header: of the bucket, in a stream; to: its codes.
    double (*encode)(std::uint8_t* header, std::uint8_t* to, int bits, const float* x,
                     const WholeHadamard& bucket, const Parameters& parameters, const Draws& draws);
    /// False as decode_chunk.
    bool (*decode)(float* out, const std::uint32_t* words, const std::uint8_t* from, int bits,
                   const WholeHadamard& bucket, const Parameters& parameters);

    // Chunks of a long bucket.
    Extent (*magnitudes)(const float* x, std::int64_t n);
    void (*rotate)(float* y, const float* x, std::int64_t n, const Hadamard::Scale& scale,
                   const Signs& signs);
    void (*columns)(float* y, std::int64_t rows, std::int64_t column, float* strip);
    Extent (*extent)(const float* y);
    /// Rounds and begins to transform back.
    double (*round)(const Standard::Fit& fit, float* y, const Draws& draws);
    double (*encode_chunk)(const Standard::Fit& fit, std::uint8_t* to, int bits, const float* y,
                           const Draws& draws);
    /// Decodes and begins to transform back. words: those of Standard.
    bool (*decode_chunk)(float* y, const std::uint32_t* words, const std::uint8_t* from, int bits,
                         const Parameters& parameters);
    void (*store)(float* out, const float* y, std::int64_t n, const Hadamard::Scale& scale,
                  const Signs& signs);
};

HadamardKernels hadamard_kernels_for(Isa isa);

/// Writes a bucket's header to a stream.
void write_hadamard_header(std::uint8_t* to, const Hadamard::Scale& scale, const Standard::Fit& fit);

}  // namespace qstep::quant::cpu

#include "quant/cpu/hadamard_kernels.h"

#include "quant/cpu/codes.h"
#include "quant/cpu/hadamard_512.h"

namespace qstep::quant::cpu {

namespace {

template <typename Group>
inline double encode_whole(Group& group, std::uint8_t* header, std::uint8_t* to, int bits, const float* x,
                           const WholeHadamard& bucket, const Parameters& parameters, const Draws& draws) {
    const auto scale = Hadamard::scale(Hadamard::measure(group, x, bucket.n), bucket.padded);
    if (!scale.finite) {
        write_hadamard_header(header, scale, {});
        std::memset(to, 0, static_cast<std::size_t>(packed_bytes(bucket.padded, bits)));
        return std::numeric_limits<double>::quiet_NaN();
    }
    const Standard::Fit fit =
        Hadamard::rotate(group, x, bucket.n, bucket.y, bucket.padded, parameters, scale, bucket.signs);
    write_hadamard_header(header, scale, fit);
    return encode_chunk<Standard>(group, fit, to, bits, bucket.y, bucket.padded, draws) * scale.variance;
}

template <typename Group>
inline bool decode_whole(Group& group, float* out, const std::uint32_t* words, const std::uint8_t* from,
                         int bits, const WholeHadamard& bucket, const Parameters& parameters) {
    if (!decode_chunk<Standard>(group, bucket.y, bucket.padded, words + 1, parameters, from, bits))
        return false;
    const auto scale = Hadamard::scale_from(words, bucket.padded);
    if (!scale.finite) {
        Hadamard::fill_not_a_number(group, out, bucket.n);
        return true;
    }
    group.walsh_hadamard(bucket.y, bucket.padded, 1);
    Hadamard::store(group, out, bucket.y, bucket.n, scale, bucket.signs);
    return true;
}

#define QSTEP_HADAMARD_VARIANT(isa, attributes)                                                              \
    attributes double quantize_##isa(float* out, const float* x, const WholeHadamard& bucket,                \
                                     const Parameters& parameters, const Draws& draws, bool past_caches) {   \
        /* Kept, because four buckets of 512 share the words of signs that are drawn together. */            \
        thread_local SimdGroupOf<Isa::isa> group;                                                            \
        if constexpr (Isa::isa == Isa::avx512 && kAvx512Written)                                             \
            if (bucket.n == std::int64_t{Signs::kRun} && bucket.signs.first % Signs::kRun == 0)              \
                return quantize_512(group, out, x, bucket.y, parameters, draws, bucket.signs, past_caches);  \
        float* const to = past_caches ? bucket.y : out;                                                      \
        const double spread = Hadamard::quantize(group, to, x, bucket.n, bucket.y, bucket.padded,            \
                                                 parameters, draws, bucket.signs);                           \
        if (past_caches) group.stream(out, to, bucket.n);                                                    \
        return spread;                                                                                       \
    }                                                                                                        \
    attributes double encode_##isa(std::uint8_t* header, std::uint8_t* to, int bits, const float* x,         \
                                   const WholeHadamard& bucket, const Parameters& parameters,                \
                                   const Draws& draws) {                                                     \
        SimdGroupOf<Isa::isa> group;                                                                         \
        return encode_whole(group, header, to, bits, x, bucket, parameters, draws);                          \
    }                                                                                                        \
    attributes bool decode_##isa(float* out, const std::uint32_t* words, const std::uint8_t* from, int bits, \
                                 const WholeHadamard& bucket, const Parameters& parameters) {                \
        SimdGroupOf<Isa::isa> group;                                                                         \
        return decode_whole(group, out, words, from, bits, bucket, parameters);                              \
    }                                                                                                        \
    attributes Extent magnitudes_##isa(const float* x, std::int64_t n) {                                     \
        SimdGroupOf<Isa::isa> group;                                                                         \
        return Hadamard::measure(group, x, n);                                                               \
    }                                                                                                        \
    attributes void rotate_##isa(float* y, const float* x, std::int64_t n, const Hadamard::Scale& scale,     \
                                 const Signs& signs) {                                                       \
        SimdGroupOf<Isa::isa> group;                                                                         \
        Hadamard::load(group, y, kChunk, x, n, scale, signs);                                                \
        group.walsh_hadamard(y, kChunk, 1);                                                                  \
    }                                                                                                        \
    attributes void columns_##isa(float* y, std::int64_t rows, std::int64_t column, float* strip) {          \
        SimdGroupOf<Isa::isa> group;                                                                         \
        Hadamard::transform_columns(group, y, rows, kChunk, column, strip);                                  \
    }                                                                                                        \
    attributes Extent extent_##isa(const float* y) {                                                         \
        SimdGroupOf<Isa::isa> group;                                                                         \
        return Standard::measure(group, y, kChunk);                                                          \
    }                                                                                                        \
    attributes double round_##isa(const Standard::Fit& fit, float* y, const Draws& draws) {                  \
        SimdGroupOf<Isa::isa> group;                                                                         \
        const double spread = round_to_values<Standard>(group, fit, y, y, kChunk, draws);                    \
        group.walsh_hadamard(y, kChunk, 1);                                                                  \
        return spread;                                                                                       \
    }                                                                                                        \
    attributes double encode_chunk_##isa(const Standard::Fit& fit, std::uint8_t* to, int bits,               \
                                         const float* y, const Draws& draws) {                               \
        SimdGroupOf<Isa::isa> group;                                                                         \
        return encode_chunk<Standard>(group, fit, to, bits, y, kChunk, draws);                               \
    }                                                                                                        \
    attributes bool decode_chunk_##isa(float* y, const std::uint32_t* words, const std::uint8_t* from,       \
                                       int bits, const Parameters& parameters) {                             \
        SimdGroupOf<Isa::isa> group;                                                                         \
        const bool good = decode_chunk<Standard>(group, y, kChunk, words, parameters, from, bits);           \
        group.walsh_hadamard(y, kChunk, 1);                                                                  \
        return good;                                                                                         \
    }                                                                                                        \
    attributes void store_##isa(float* out, const float* y, std::int64_t n, const Hadamard::Scale& scale,    \
                                const Signs& signs) {                                                        \
        SimdGroupOf<Isa::isa> group;                                                                         \
        Hadamard::store(group, out, y, n, scale, signs);                                                     \
    }
QSTEP_FOR_EACH_ISA(QSTEP_HADAMARD_VARIANT)
#undef QSTEP_HADAMARD_VARIANT

}  // namespace

#define QSTEP_HADAMARD_TABLE(isa)                                                                  \
    {                                                                                              \
        quantize_##isa, encode_##isa, decode_##isa, magnitudes_##isa, rotate_##isa, columns_##isa, \
            extent_##isa, round_##isa, encode_chunk_##isa, decode_chunk_##isa, store_##isa         \
    }
HadamardKernels hadamard_kernels_for(Isa isa) {
    switch (isa) {
        case Isa::avx512:
            return QSTEP_HADAMARD_TABLE(avx512);
        case Isa::avx2:
            return QSTEP_HADAMARD_TABLE(avx2);
        case Isa::baseline:
            break;
    }
    return QSTEP_HADAMARD_TABLE(baseline);
}
#undef QSTEP_HADAMARD_TABLE

void write_hadamard_header(std::uint8_t* to, const Hadamard::Scale& scale, const Standard::Fit& fit) {
    for (std::int64_t i = 0; i < Hadamard::kHeaderWords; ++i) {
        const std::uint32_t word = Hadamard::header_word(scale, fit, i);
        std::memcpy(to + i * 4, &word, sizeof word);
    }
}

}  // namespace qstep::quant::cpu

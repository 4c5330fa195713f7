// Between codes and packed bytes, a chunk at a time through buffers that stay in the first-level cache.
#pragma once

#include <algorithm>
#include <cstring>

#include "quant/algorithm.h"
#include "quant/cpu/simd_group.h"
#include "quant/packing.h"

namespace qstep::quant::cpu {

/// Room for the codes of a chunk, and behind them for what is read or written beyond the last eight.
struct CodeBuffer {
    alignas(64) std::uint16_t codes[kChunk + 8];
    alignas(64) std::uint8_t bytes[2 * kChunk + 16];
};

/// The first n of buffer.codes to packed_bytes(n, bits) bytes at `to`.
inline void pack_codes(std::uint8_t* to, CodeBuffer& buffer, std::int64_t n, int bits) {
    std::fill_n(buffer.codes + n, 8, std::uint16_t{0});
    std::uint8_t* at = buffer.bytes;
    for (std::int64_t i = 0; i < n; i += 8, at += bits) {
        std::uint64_t first, second;
        std::memcpy(&first, buffer.codes + i, 8);
        std::memcpy(&second, buffer.codes + i + 4, 8);
        const PackedEight packed = pack_eight(first, second, bits);
        std::memcpy(at, &packed.low, 8);
        std::memcpy(at + 8, &packed.high, 8);
    }
    std::memcpy(to, buffer.bytes, static_cast<std::size_t>(packed_bytes(n, bits)));
}

/// And back; reads no byte behind them.
inline void unpack_codes(CodeBuffer& buffer, const std::uint8_t* from, std::int64_t n, int bits) {
    const auto bytes = static_cast<std::size_t>(packed_bytes(n, bits));
    std::memcpy(buffer.bytes, from, bytes);
    std::memset(buffer.bytes + bytes, 0, 16);
    const std::uint8_t* at = buffer.bytes;
    for (std::int64_t i = 0; i < n; i += 8, at += bits) {
        PackedEight packed;
        std::memcpy(&packed.low, at, 8);
        std::memcpy(&packed.high, at + 8, 8);
        std::uint64_t first, second;
        unpack_eight(packed, bits, first, second);
        std::memcpy(buffer.codes + i, &first, 8);
        std::memcpy(buffer.codes + i + 4, &second, 8);
    }
}

/// Rounds x[0..n), n <= kChunk, to packed codes; returns the spread as round_bucket.
template <typename Algorithm, typename Group>
inline double encode_chunk(Group& group, const typename Algorithm::Fit& fit, std::uint8_t* to, int bits,
                           const float* x, std::int64_t n, const Draws& draws) {
    CodeBuffer buffer;
    const IndexStore<Algorithm, std::uint16_t*> store{typename Algorithm::Decoder(fit), buffer.codes};
    const double spread = round_bucket<Algorithm>(group, fit, store, x, n, draws);
    pack_codes(to, buffer, n, bits);
    return spread;
}

/// out[0..n) from packed codes, n <= kChunk, and the bucket's header. False if a code is none, or if the bits
/// behind the last are not 0.
template <typename Algorithm, typename Group>
inline bool decode_chunk(Group& group, float* out, std::int64_t n, const std::uint32_t* words,
                         const Parameters& parameters, const std::uint8_t* from, int bits) {
    CodeBuffer buffer;
    unpack_codes(buffer, from, n, bits);
    const auto top = static_cast<std::uint32_t>(parameters.levels - 1);
    std::uint32_t largest = 0;
    const std::uint16_t* codes = buffer.codes;
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < n; ++i) largest = codes[i] > largest ? codes[i] : largest;
    if (largest > top) return false;
    for (std::int64_t i = n; i < (n + 7) / 8 * 8; ++i)
        if (codes[i] != 0) return false;
    if (is_not_a_number<Algorithm>(words, parameters)) {
        group.for_each(n, [=](std::int64_t i) { out[i] = kNotANumber; });
        return true;
    }
    const typename Algorithm::Decoder decoder(words, parameters);
    group.for_each(n, [=](std::int64_t i) { out[i] = decoder.value(decoder.code(codes[i])); });
    return true;
}

}  // namespace qstep::quant::cpu

// Codes of 1 to 16 bits behind each other, lowest bits first, without gaps: eight codes are `bits` bytes.
// Everything multi-byte in a stream is little-endian, and so are the processors this runs on.
#pragma once

#include <bit>
#include <cstdint>

#include "engine/macros.h"

namespace qstep::quant {

static_assert(std::endian::native == std::endian::little);

/// Eight codes in the lower 8 * bits bits.
struct PackedEight {
    std::uint64_t low, high;
};

/// Bytes that n codes take.
QSTEP_HOST_DEVICE inline std::int64_t packed_bytes(std::int64_t n, int bits) {
    return (n * bits + 7) / 8;
}

namespace detail {

/// Four codes from 16 bits each to `bits` each.
QSTEP_HOST_DEVICE inline std::uint64_t squeeze(std::uint64_t x, int bits) {
    constexpr std::uint64_t kEven = 0x0000ffff0000ffffu;
    x = (x & kEven) | (x & ~kEven) >> (16 - bits);
    return (x & 0xffffffffu) | x >> 32 << 2 * bits;
}

/// And back; bits above the four codes are ignored.
QSTEP_HOST_DEVICE inline std::uint64_t spread(std::uint64_t x, int bits) {
    const std::uint64_t one = (std::uint64_t{1} << bits) - 1, two = (std::uint64_t{1} << 2 * bits) - 1;
    x = (x & two) | (x >> 2 * bits & two) << 32;
    return (x & one * 0x0000000100000001u) | (x << (16 - bits) & one * 0x0001000000010000u);
}

}  // namespace detail

/// first, second: four codes each, 16 bits a code.
QSTEP_HOST_DEVICE inline PackedEight pack_eight(std::uint64_t first, std::uint64_t second, int bits) {
    const std::uint64_t a = detail::squeeze(first, bits), b = detail::squeeze(second, bits);
    return bits == 16 ? PackedEight{a, b} : PackedEight{a | b << 4 * bits, b >> (64 - 4 * bits)};
}

QSTEP_HOST_DEVICE inline void unpack_eight(const PackedEight& packed, int bits, std::uint64_t& first,
                                           std::uint64_t& second) {
    const std::uint64_t b =
        bits == 16 ? packed.high : packed.low >> 4 * bits | packed.high << (64 - 4 * bits);
    first = detail::spread(packed.low, bits);
    second = detail::spread(b, bits);
}

}  // namespace qstep::quant

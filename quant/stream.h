// A quantized gradient as bytes: a stream header, the headers of all buckets, the codes of all buckets.
//
// Everything is little-endian. The stream header, 64 bytes:
//
//   offset  bytes  what
//        0      4  "QSTP"
//        4      2  version: 1
//        6      1  codec: 0 none, 1 standard, 2 smart, 3 hadamard, 4 exponential, 5 qsgd, 6 terngrad, 7 sign,
//                   8 natural, 9 dorefa, 10 fixed (CodecKind)
//        7      1  coding of the codes: 0 packed, 1 entropy-coded (quant/entropy.h)
//        8      8  elements, at least 1
//       16      8  elements of a bucket, 1 .. elements; the last bucket may be shorter. none: 0
//       24      4  levels: how many codes there are. none: 0
//       28      4  what the codec needs besides (Parameters::extra): standard's points (0 even, 1 random),
//                   qsgd's norm (0 l2, 1 max), fixed's fraction bits; else 0
//       32      8  seed
//       40      4  step, its lower 32 bits
//       44      4  0
//       48      8  bytes of the whole stream
//       56      8  0
//
// A bucket's header is a number of 32-bit words that its codec defines (header_word in quant/standard.h and
// so on; hadamard: 3, the power of two that the largest magnitude is scaled by, min, max; the rotation
// follows from seed, step and element number). A bucket that is not finite has 0x7fc00000 in its first word.
//
// Codes are bit_width(levels - 1) bits wide, packed lowest bits first. Every bucket's codes begin at a byte;
// the bits left over in its last byte are 0. hadamard has codes for the padded bucket (quant/hadamard.h).
// `none` has no bucket headers, and its codes are the floats themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/context.h"
#include "quant/buckets.h"
#include "quant/codec.h"
#include "quant/packing.h"

namespace qstep {

/// What the 64 bytes say.
struct StreamHeader {
    CodecKind kind = CodecKind::none;
    bool entropy_coded = false;
    std::int64_t elements = 0;
    /// 0 for none.
    std::int64_t bucket_size = 0;
    quant::Parameters parameters;
    std::uint64_t seed = 0;
    std::uint32_t step = 0;
    /// Of the whole stream.
    std::int64_t bytes = 0;

    double bits_per_element() const {
        return 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
    }
};

/// The header of a stream of unknown origin: `bytes` is the whole stream. A run error, one sentence, unless
/// all of it is as above and the counts fit to the number of bytes. Reads nothing outside of `bytes`.
StreamHeader read_stream_header(std::span<const std::byte> bytes);

/// The elements of a stream of unknown origin, on the CPU with the threads of `context`: bitwise what
/// GradientCodec::quantize gave. Entropy-coded streams are expanded first. A run error, one sentence, for
/// a malformed stream. Memory is proportional to the stream; for entropy-coded ones see
/// quant/entropy.h.
std::vector<float> decode_stream(const Context& context, std::span<const std::byte> bytes);

namespace quant {

/// Bytes before the first bucket header.
inline constexpr std::int64_t kStreamHeaderBytes = 64;
/// Where the header holds what: 32-bit words, and bytes.
inline constexpr int kSeedWord = 8, kStepWord = 10;
/// The bytes of the coding and of the length.
inline constexpr std::size_t kCodingByte = 7, kBytesByte = 48;

/// Where things are in a stream with packed codes.
struct StreamLayout {
    Buckets buckets;
    int bits;
    /// Of a bucket.
    std::int64_t header_words;
    /// Whether a bucket's codes are padded to a power of two.
    bool padded;

    /// 2^m >= n, the least.
    static QSTEP_HOST_DEVICE std::int64_t padded_to(std::int64_t n) {
        std::int64_t length = 1;
        while (length < n) length *= 2;
        return length;
    }
    /// Codes of a bucket.
    QSTEP_HOST_DEVICE std::int64_t codes(std::int64_t bucket) const {
        const std::int64_t n = buckets.length(bucket);
        return padded ? padded_to(n) : n;
    }
    /// Byte of the stream where the header of a bucket begins.
    QSTEP_HOST_DEVICE std::int64_t header_at(std::int64_t bucket) const {
        return kStreamHeaderBytes + bucket * header_words * 4;
    }
    /// Of a bucket that is not the last.
    QSTEP_HOST_DEVICE std::int64_t code_bytes() const { return packed_bytes(codes(0), bits); }
    /// Byte of the stream where the codes of a bucket begin.
    QSTEP_HOST_DEVICE std::int64_t codes_at(std::int64_t bucket) const {
        return header_at(buckets.count()) + bucket * code_bytes();
    }
    QSTEP_HOST_DEVICE std::int64_t bytes() const {
        const std::int64_t last = buckets.count() - 1;
        return codes_at(last) + packed_bytes(codes(last), bits);
    }
};

/// settings: validated.
StreamLayout stream_layout(const CodecSettings& settings, std::int64_t element_count);
/// What decoding a stream with this header needs.
CodecSettings settings_of(const StreamHeader& header);

/// The header of what a codec encodes, as the words of the stream.
struct StreamHeaderWords {
    std::uint32_t word[kStreamHeaderBytes / 4];
};
/// settings: validated. The coding is packed.
StreamHeaderWords header_words_of(const CodecSettings& settings, std::int64_t element_count,
                                  std::uint32_t step);

}  // namespace quant
}  // namespace qstep

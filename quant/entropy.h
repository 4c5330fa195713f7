// Entropy coding of a stream's codes, on the host: range asymmetric numeral systems (rANS; Duda, "Asymmetric
// numeral systems", 2013) with one table of frequencies a stream. What is packed evenly wastes the difference
// between bit width and entropy: most codes of a gradient are those near 0.
//
// In an entropy-coded stream (coding 1, quant/stream.h) the codes are replaced by
//
//   u16 frequency[levels]   of each code; they add up to 2^12, or 2^15 where codes have more than 8 bits
//   u32 size[pieces]        bytes of each piece
//   the pieces
//
// A piece is as many whole buckets as have at most 65,536 codes, or 65,536 codes (or what is left) of a
// longer bucket. It has four states of 4 bytes, then words of 2 bytes: code i belongs to state i % 4. A state
// x, 2^16 <= x < 2^32, gives the code whose frequency range holds x mod 2^S, becomes frequency * floor(x /
// 2^S) + x mod 2^S - (begin of the range), and takes the next word in as its lower half if it fell below
// 2^16. In the end all states are 2^16 and no word is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/context.h"

namespace qstep {

/// Codes have at most 12 bits where they are entropy-coded.
inline constexpr std::int64_t kMostCodedLevels = 4096;

/// A stream is entropy-coded only if it is at most this long: 2 x 10^9 codes of 4 bits. (1 GiB.)
inline constexpr std::int64_t kMostExpandedBytes = std::int64_t{1} << 30;

/// The stream entropy-coded where that makes it shorter, else as it is: also with more levels than
/// kMostCodedLevels, for `none`, for one that is coded already, and for one of more than `most_bytes`, which
/// expand_stream() would refuse. Errors as read_stream_header; also for a code that is none. The same for
/// every number of threads.
std::vector<std::byte> compress_stream(const Context& context, std::span<const std::byte> stream,
                                       std::int64_t most_bytes = kMostExpandedBytes);

/// The stream with packed codes, bit for bit as it was before compress_stream. A run error, one sentence, for
/// a malformed stream, or for one whose packed form has more than `most_bytes`: few bytes may stand for
/// millions of equal codes, up to 4,915 times as many as the stream has (20 bytes for a piece of 65,536 codes
/// of 12 bits). Memory grows with what was decoded well.
std::vector<std::byte> expand_stream(const Context& context, std::span<const std::byte> stream,
                                     std::int64_t most_bytes = kMostExpandedBytes);

}  // namespace qstep

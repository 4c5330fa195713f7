#include "quant/entropy.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "quant/cpu/codes.h"
#include "quant/rans.h"
#include "quant/stream.h"

namespace qstep {

namespace {

using quant::StreamLayout;

constexpr std::int64_t kPieceCodes = 65536;
/// Size and states.
constexpr std::int64_t kLeastPieceBytes = 4 + 16;

/// How the codes of a stream are cut.
struct Pieces {
    StreamLayout layout;

    std::int64_t per_bucket() const { return (layout.codes(0) + kPieceCodes - 1) / kPieceCodes; }
    std::int64_t buckets_per_piece() const {
        return std::max<std::int64_t>(1, kPieceCodes / layout.codes(0));
    }
    std::int64_t of_last_bucket() const {
        return (layout.codes(layout.buckets.count() - 1) + kPieceCodes - 1) / kPieceCodes;
    }
    std::int64_t count() const {
        const std::int64_t buckets = layout.buckets.count();
        if (per_bucket() > 1) return (buckets - 1) * per_bucket() + of_last_bucket();
        return (buckets + buckets_per_piece() - 1) / buckets_per_piece();
    }

    /// f(byte of the stream where packed codes begin, how many), in chunks that buckets hold together.
    template <typename F>
    void for_each_chunk(std::int64_t piece, F f) const {
        const std::int64_t first = piece / per_bucket() * buckets_per_piece();
        const std::int64_t last = std::min(first + buckets_per_piece(), layout.buckets.count());
        for (std::int64_t bucket = first; bucket < last; ++bucket) {
            const std::int64_t begin = piece % per_bucket() * kPieceCodes;
            const std::int64_t end = std::min(begin + kPieceCodes, layout.codes(bucket));
            for (std::int64_t at = begin; at < end; at += quant::kChunk)
                f(layout.codes_at(bucket) + quant::packed_bytes(at, layout.bits),
                  std::min(quant::kChunk, end - at));
        }
    }
    std::size_t codes(std::int64_t piece) const {
        std::int64_t codes = 0;
        for_each_chunk(piece, [&](std::int64_t, std::int64_t n) { codes += n; });
        return static_cast<std::size_t>(codes);
    }
    /// End of a piece's packed codes in the stream.
    std::int64_t end(std::int64_t piece) const {
        std::int64_t end = 0;
        for_each_chunk(
            piece, [&](std::int64_t at, std::int64_t n) { end = at + quant::packed_bytes(n, layout.bits); });
        return end;
    }

    /// `codes` holds kPieceCodes; returns those of the piece.
    std::span<const std::uint16_t> unpack(std::int64_t piece, std::span<const std::byte> stream,
                                          std::vector<std::uint16_t>& codes) const {
        quant::cpu::CodeBuffer buffer;
        std::size_t count = 0;
        for_each_chunk(piece, [&](std::int64_t at, std::int64_t n) {
            quant::cpu::unpack_codes(buffer, reinterpret_cast<const std::uint8_t*>(stream.data()) + at, n,
                                     layout.bits);
            std::copy_n(buffer.codes, n, codes.data() + count);
            count += static_cast<std::size_t>(n);
        });
        return {codes.data(), count};
    }
    void pack(std::int64_t piece, std::span<const std::uint16_t> codes, std::span<std::byte> stream) const {
        quant::cpu::CodeBuffer buffer;
        const std::uint16_t* from = codes.data();
        for_each_chunk(piece, [&](std::int64_t at, std::int64_t n) {
            std::copy_n(from, n, buffer.codes);
            from += n;
            quant::cpu::pack_codes(reinterpret_cast<std::uint8_t*>(stream.data()) + at, buffer, n,
                                   layout.bits);
        });
    }
};

StreamLayout layout_of(const StreamHeader& header) {
    return quant::stream_layout(quant::settings_of(header), header.elements);
}

/// Changes what the stream header says of coding and bytes.
void set_coding(std::vector<std::byte>& stream, bool entropy_coded) {
    stream[quant::kCodingByte] = std::byte{entropy_coded};
    const std::uint64_t bytes = stream.size();
    std::memcpy(stream.data() + quant::kBytesByte, &bytes, sizeof bytes);
}

/// How often each code occurs.
std::vector<std::int64_t> count_codes(const Context& context, const Pieces& pieces, std::int64_t levels,
                                      std::span<const std::byte> stream) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(levels));
    std::atomic<bool> good{true};
#pragma omp parallel num_threads(context.threads())
    {
        std::vector<std::int64_t> own(std::size_t{1} << pieces.layout.bits);
        std::vector<std::uint16_t> codes(kPieceCodes);
#pragma omp for schedule(static)
        for (std::int64_t piece = 0; piece < pieces.count(); ++piece)
            for (const std::uint16_t code : pieces.unpack(piece, stream, codes)) ++own[code];
        for (std::size_t code = counts.size(); code < own.size(); ++code)
            if (own[code] != 0) good = false;
#pragma omp critical(qstep_count_codes)
        for (std::size_t code = 0; code < counts.size(); ++code) counts[code] += own[code];
    }
    if (!good) fail_run("the gradient stream has a code that is none");
    return counts;
}

}  // namespace

std::vector<std::byte> compress_stream(const Context& context, std::span<const std::byte> stream,
                                       std::int64_t most_bytes) {
    const StreamHeader header = read_stream_header(stream);
    std::vector<std::byte> same(stream.begin(), stream.end());
    if (header.entropy_coded || header.kind == CodecKind::none ||
        header.parameters.levels > kMostCodedLevels || header.bytes > most_bytes)
        return same;
    const Pieces pieces{layout_of(header)};
    const auto counts = count_codes(context, pieces, header.parameters.levels, stream);
    const auto frequencies = quant::Frequencies::from_counts(counts, pieces.layout.bits);
    const quant::RansEncoder encoder(frequencies);
    std::vector<std::vector<std::uint8_t>> coded(static_cast<std::size_t>(pieces.count()));
#pragma omp parallel num_threads(context.threads())
    {
        std::vector<std::uint16_t> codes(kPieceCodes);
#pragma omp for schedule(static)
        for (std::int64_t piece = 0; piece < pieces.count(); ++piece)
            coded[static_cast<std::size_t>(piece)] = encoder.encode(pieces.unpack(piece, stream, codes));
    }
    std::vector<std::byte> shorter(stream.begin(), stream.begin() + pieces.layout.codes_at(0));
    const auto append = [&](const void* bytes, std::size_t count) {
        const auto* from = static_cast<const std::byte*>(bytes);
        shorter.insert(shorter.end(), from, from + count);
    };
    append(frequencies.of.data(), frequencies.of.size() * sizeof(std::uint16_t));
    for (const auto& piece : coded) {
        const auto size = static_cast<std::uint32_t>(piece.size());
        append(&size, sizeof size);
    }
    for (const auto& piece : coded) append(piece.data(), piece.size());
    if (shorter.size() >= same.size()) return same;
    set_coding(shorter, true);
    return shorter;
}

namespace {

/// The parts of an entropy-coded stream, checked against each other.
struct CodedParts {
    quant::Frequencies frequencies;
    std::vector<std::span<const std::uint8_t>> pieces;
};

CodedParts parts_of(const StreamHeader& header, const Pieces& pieces, std::span<const std::byte> stream) {
    auto rest = stream.subspan(static_cast<std::size_t>(pieces.layout.codes_at(0)));
    CodedParts parts{{quant::Frequencies::scale_bits_for(pieces.layout.bits), {}}, {}};
    const auto levels = static_cast<std::size_t>(header.parameters.levels);
    if (header.parameters.levels > kMostCodedLevels)
        fail_run("codes with {} levels cannot be entropy-coded", levels);
    if (rest.size() < levels * sizeof(std::uint16_t))
        fail_run("the entropy-coded gradient stream ends within its frequencies");
    parts.frequencies.of.resize(levels);
    std::memcpy(parts.frequencies.of.data(), rest.data(), levels * sizeof(std::uint16_t));
    if (!parts.frequencies.valid()) fail_run("the gradient stream's frequencies do not add up");
    rest = rest.subspan(levels * sizeof(std::uint16_t));
    const std::int64_t count = pieces.count();
    if (count > static_cast<std::int64_t>(rest.size()) / kLeastPieceBytes)
        fail_run("a gradient stream of {} bytes is too short for {} elements", stream.size(),
                 header.elements);
    auto data = rest.subspan(static_cast<std::size_t>(count) * sizeof(std::uint32_t));
    for (std::int64_t piece = 0; piece < count; ++piece) {
        std::uint32_t size;
        std::memcpy(&size, rest.data() + piece * std::int64_t{sizeof size}, sizeof size);
        if (size > data.size()) fail_run("the gradient stream ends within piece {} of its codes", piece);
        parts.pieces.push_back({reinterpret_cast<const std::uint8_t*>(data.data()), size});
        data = data.subspan(size);
    }
    if (!data.empty()) fail_run("the gradient stream goes on behind its codes");
    return parts;
}

}  // namespace

std::vector<std::byte> expand_stream(const Context& context, std::span<const std::byte> stream,
                                     std::int64_t most_bytes) {
    const StreamHeader header = read_stream_header(stream);
    if (!header.entropy_coded) return {stream.begin(), stream.end()};
    const Pieces pieces{layout_of(header)};
    if (pieces.layout.bytes() > most_bytes)
        fail_run("the gradient stream would expand to {} bytes, more than the {} allowed",
                 pieces.layout.bytes(), most_bytes);
    const CodedParts parts = parts_of(header, pieces, stream);
    const quant::RansDecoder decoder(parts.frequencies);
    std::vector<std::byte> longer(stream.begin(), stream.begin() + pieces.layout.codes_at(0));
    const auto count = static_cast<std::int64_t>(parts.pieces.size());
    // Room is made for some pieces at a time, so that a stream that claims too much is found out first.
    constexpr std::int64_t kPiecesAtOnce = 64;
    for (std::int64_t begin = 0; begin < count; begin += kPiecesAtOnce) {
        const std::int64_t end = std::min(begin + kPiecesAtOnce, count);
        longer.resize(static_cast<std::size_t>(pieces.end(end - 1)));
        std::int64_t first_bad = count;
#pragma omp parallel for schedule(static) num_threads(context.threads()) reduction(min : first_bad)
        for (std::int64_t piece = begin; piece < end; ++piece) {
            std::vector<std::uint16_t> codes(pieces.codes(piece));
            if (decoder.decode(codes, parts.pieces[static_cast<std::size_t>(piece)]))
                pieces.pack(piece, codes, longer);
            else
                first_bad = std::min(first_bad, piece);
        }
        if (first_bad < count) fail_run("piece {} of the gradient stream's codes is damaged", first_bad);
    }
    set_coding(longer, false);
    return longer;
}

}  // namespace qstep

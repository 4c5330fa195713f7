#include "quant/rans.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "engine/error.h"

namespace qstep::quant {

namespace {

constexpr std::size_t kStates = 4, kStateBytes = kStates * sizeof(std::uint32_t);
constexpr std::uint32_t kLowest = 1u << 16;

}  // namespace

Frequencies Frequencies::from_counts(std::span<const std::int64_t> counts, int code_bits) {
    const int scale_bits = scale_bits_for(code_bits);
    const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    QSTEP_CHECK(total > 0, "frequencies of no codes");
    std::vector<std::int64_t> shares(counts.size());
    std::int64_t left = std::int64_t{1} << scale_bits;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const double exact =
            std::ldexp(static_cast<double>(counts[i]) / static_cast<double>(total), scale_bits);
        shares[i] = counts[i] == 0 ? 0 : std::max<std::int64_t>(1, static_cast<std::int64_t>(exact));
        left -= shares[i];
    }
    // What is left over, or missing because rare codes have more than their share, is the most frequent
    // ones' business: there it matters least.
    while (left != 0) {
        const auto most = std::max_element(shares.begin(), shares.end());
        const std::int64_t change = std::max(left, -(*most / 2));
        *most += change;
        left -= change;
    }
    return {scale_bits, {shares.begin(), shares.end()}};
}

bool Frequencies::valid() const {
    return std::accumulate(of.begin(), of.end(), std::int64_t{0}) == std::int64_t{1} << scale_bits;
}

RansEncoder::RansEncoder(const Frequencies& frequencies) : scale_bits_(frequencies.scale_bits) {
    std::uint32_t begin = 0;
    for (const std::uint16_t frequency : frequencies.of) {
        symbols_.push_back({frequency, begin});
        begin += frequency;
    }
}

std::vector<std::uint8_t> RansEncoder::encode(std::span<const std::uint16_t> codes) const {
    std::uint32_t states[kStates];
    std::fill_n(states, kStates, kLowest);
    // A code takes in at most one word. The decoder goes forward, so this goes backward, from the end on.
    std::vector<std::uint8_t> bytes(kStateBytes + codes.size() * 2);
    std::size_t at = bytes.size();
    for (std::size_t i = codes.size(); i-- > 0;) {
        const Symbol symbol = symbols_[codes[i]];
        std::uint32_t& x = states[i % kStates];
        if (x >= std::uint64_t{symbol.frequency} << (32 - scale_bits_)) {
            const auto word = static_cast<std::uint16_t>(x);
            std::memcpy(&bytes[at -= 2], &word, 2);
            x >>= 16;
        }
        x = (x / symbol.frequency << scale_bits_) + x % symbol.frequency + symbol.begin;
    }
    at -= kStateBytes;
    std::memcpy(&bytes[at], states, kStateBytes);
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    return bytes;
}

RansDecoder::RansDecoder(const Frequencies& frequencies) : scale_bits_(frequencies.scale_bits) {
    QSTEP_CHECK(frequencies.valid(), "frequencies do not add up to 2^{}", scale_bits_);
    for (std::size_t code = 0; code < frequencies.of.size(); ++code)
        for (std::uint16_t offset = 0; offset < frequencies.of[code]; ++offset)
            slots_.push_back({static_cast<std::uint16_t>(code), frequencies.of[code], offset});
}

bool RansDecoder::decode(std::span<std::uint16_t> codes, std::span<const std::uint8_t> bytes) const {
    if (bytes.size() < kStateBytes || bytes.size() % 2 != 0) return false;
    std::uint32_t states[kStates];
    std::memcpy(states, bytes.data(), kStateBytes);
    const std::uint8_t *at = bytes.data() + kStateBytes, *end = bytes.data() + bytes.size();
    const std::uint32_t mask = (1u << scale_bits_) - 1;
    for (std::size_t i = 0; i < codes.size(); ++i) {
        std::uint32_t& x = states[i % kStates];
        const Slot slot = slots_[x & mask];
        codes[i] = slot.code;
        x = slot.frequency * (x >> scale_bits_) + slot.offset;
        if (x < kLowest) {
            if (at == end) return false;
            std::uint16_t word;
            std::memcpy(&word, at, 2);
            at += 2;
            x = x << 16 | word;
        }
    }
    return at == end && std::all_of(states, states + kStates, [](std::uint32_t x) { return x == kLowest; });
}

}  // namespace qstep::quant

// The coder behind quant/entropy.h: codes to bytes with fixed frequencies, and back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qstep::quant {

/// Frequencies of codes, adding up to 2^scale_bits.
struct Frequencies {
    int scale_bits;
    std::vector<std::uint16_t> of;

    static int scale_bits_for(int code_bits) { return code_bits <= 8 ? 12 : 15; }

    /// In proportion to `counts`, at least 1 for what occurs. Some count must not be 0.
    static Frequencies from_counts(std::span<const std::int64_t> counts, int code_bits);
    /// Whether they add up as they should.
    bool valid() const;
};

class RansEncoder {
  public:
    explicit RansEncoder(const Frequencies& frequencies);
    /// Every code must have a frequency.
    std::vector<std::uint8_t> encode(std::span<const std::uint16_t> codes) const;

  private:
    struct Symbol {
        std::uint32_t frequency, begin;
    };
    int scale_bits_;
    std::vector<Symbol> symbols_;
};

class RansDecoder {
  public:
    explicit RansDecoder(const Frequencies& frequencies);
    /// Fills `codes`. False unless `bytes` is what encode() makes of so many codes.
    bool decode(std::span<std::uint16_t> codes, std::span<const std::uint8_t> bytes) const;

  private:
    struct Slot {
        std::uint16_t code, frequency, offset;
    };
    int scale_bits_;
    std::vector<Slot> slots_;
};

}  // namespace qstep::quant

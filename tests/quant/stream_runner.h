// Encodes and decodes host vectors.
#pragma once

#include <vector>

#include "codec_runner.h"
#include "quant/stream.h"

namespace qstep::test {

/// Memory as encode() wants it.
class AlignedBytes {
  public:
    explicit AlignedBytes(std::int64_t count)
        : count_(count), words_(static_cast<std::size_t>(count + 15) / 16) {}
    Tensor tensor() { return {words_.data(), DType::u8, {count_}}; }
    std::span<std::byte> bytes() {
        return {reinterpret_cast<std::byte*>(words_.data()), static_cast<std::size_t>(count_)};
    }

  private:
    struct alignas(16) Word {
        std::uint8_t bytes[16] = {};
    };
    std::int64_t count_;
    std::vector<Word> words_;
};

struct Encoded {
    std::vector<std::byte> stream;
    double variance = -1;
};

inline Encoded encode(const CodecSettings& settings, const std::vector<float>& in, std::int64_t step = 0,
                      int threads = 2, quant::cpu::Isa isa = quant::cpu::best_isa()) {
    Context context(Device{}, threads);
    const auto count = static_cast<std::int64_t>(in.size());
    const auto codec = quant::cpu::make(context, settings, count, isa);
    context.workspace().freeze();
    std::vector<float> copy = in;
    AlignedBytes stream(codec->stream_bytes());
    Encoded result;
    codec->encode(context, stream.tensor(), {copy.data(), DType::f32, {count}}, {&step, DType::i64, {1}},
                  {&result.variance, DType::f64, {1}});
    const auto bytes = stream.bytes();
    result.stream.assign(bytes.begin(), bytes.end());
    return result;
}

inline std::vector<float> decode(const CodecSettings& settings, std::vector<std::byte> stream,
                                 std::int64_t count, int threads = 2,
                                 quant::cpu::Isa isa = quant::cpu::best_isa()) {
    Context context(Device{}, threads);
    const auto codec = quant::cpu::make(context, settings, count, isa);
    context.workspace().freeze();
    std::vector<float> out(static_cast<std::size_t>(count), 12345.0f);
    codec->decode(context, {out.data(), DType::f32, {count}},
                  {stream.data(), DType::u8, {static_cast<std::int64_t>(stream.size())}});
    return out;
}

inline const std::vector<Codec> kAllCodecs = all_codecs();

}  // namespace qstep::test

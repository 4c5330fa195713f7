// Fuzz target: any bytes as a gradient stream. They decode or are refused with a run error; what decodes
// survives entropy coding and back.
#include <cstring>
#include <vector>

#include "quant/entropy.h"
#include "quant/stream.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace qstep;
using fuzz::require;

/// Few bytes may stand for many codes: more than this takes too long to be worth a try.
constexpr std::int64_t kMostBytes = std::int64_t{1} << 20;

void take(std::span<const std::byte> bytes) {
    static const Context context(Device{}, 1);
    std::vector<std::byte> plain;
    std::vector<float> values;
    const bool decoded = fuzz::succeeds(ErrorKind::run, [&] {
        plain = expand_stream(context, bytes, kMostBytes);
        values = decode_stream(context, plain);
    });
    if (!decoded) return;
    require(static_cast<std::int64_t>(values.size()) == read_stream_header(bytes).elements);
    // The codes were good, so they can be coded, and the way back leads to the same bytes.
    const auto shorter = compress_stream(context, plain);
    require(shorter.size() <= plain.size() && expand_stream(context, shorter) == plain);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = fuzz::as_bytes(data, size);
    take(bytes);
    if (size < static_cast<std::size_t>(quant::kStreamHeaderBytes)) return 0;
    // The same with a length that agrees, which mutations rarely hit.
    std::vector<std::byte> agreeing(bytes.begin(), bytes.end());
    const std::uint64_t length = size;
    std::memcpy(agreeing.data() + quant::kBytesByte, &length, sizeof length);
    take(agreeing);
    return 0;
}

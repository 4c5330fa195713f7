// Fuzz target: any bytes as an .npy file, and any bytes as the header of one whose frame is right. They are
// read or refused with a run error; what is read has the elements that its shape says, bit by bit the file's.
#include <cstring>
#include <string>

#include "data/npy.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace qstep;
using fuzz::require;

void take(std::span<const std::byte> bytes) {
    static fuzz::MemoryFile file;
    file.hold(bytes);
    NpyArray array;
    if (!fuzz::succeeds(ErrorKind::run, [&] { array = read_npy(file.path()); })) return;
    std::uint64_t count = 1;
    for (const std::int64_t extent : array.shape) count *= static_cast<std::uint64_t>(extent);
    require(array.values.size() == count);
    const auto values = std::as_bytes(std::span(array.values));
    require(values.size() < bytes.size());
    if (!values.empty())
        require(std::memcmp(values.data(), bytes.last(values.size()).data(), values.size()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    take(fuzz::as_bytes(data, size));
    // Version 1.0, a header up to the last brace and behind it the data: a mutation need not hit the length.
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t brace = text.rfind('}'), length = brace == std::string_view::npos ? 0 : brace + 1;
    if (length > 0xffff) return 0;
    std::string framed("\x93NUMPY\x01\x00", 8);
    framed += static_cast<char>(length & 0xff);
    framed += static_cast<char>(length >> 8);
    framed += text;
    take(std::as_bytes(std::span(framed)));
    return 0;
}

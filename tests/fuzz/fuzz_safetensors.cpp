// Fuzz target: any bytes as a safetensors file, and as a checkpoint of a small model. They are read or
// refused with a run error; what is loaded is what the file holds.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/small_model.h"
#include "train/checkpoint.h"

namespace {

using namespace qstep;
using fuzz::require;

constexpr std::size_t kLengthBytes = 8;

void check_entries(const SafetensorsFile& file, std::uint64_t file_bytes) {
    std::uint64_t bytes = 0;
    for (const auto& item : file.entries()) {
        std::vector<std::byte> data(item.second.bytes());
        file.read(item.second, data);
        bytes += data.size();
    }
    require(bytes <= file_bytes);
}

void check_loaded(const SafetensorsFile& file, const ParameterStore& parameters) {
    for (const auto& parameter : parameters.parameters()) {
        std::vector<std::byte> data(parameter.value.bytes());
        file.read(file.entries().at(parameter.name), data);
        require(std::memcmp(data.data(), parameter.value.data, data.size()) == 0);
    }
}

void take(std::span<const std::byte> bytes) {
    static fuzz::MemoryFile memory;
    static test::SmallModel model;
    memory.hold(bytes);
    if (!fuzz::succeeds(ErrorKind::run, [&] { check_entries(SafetensorsFile(memory.path()), bytes.size()); }))
        return;
    const bool loaded = fuzz::succeeds(ErrorKind::run, [&] {
        const Checkpoint checkpoint(memory.path());
        checkpoint.load(model.context, model.parameters, checkpoint.can_resume());
    });
    if (loaded) check_loaded(SafetensorsFile(memory.path()), model.parameters);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = fuzz::as_bytes(data, size);
    take(bytes);
    if (size < kLengthBytes) return 0;
    // The same with a header that ends at the last brace, whose length mutations rarely hit.
    const auto brace = std::ranges::find(bytes.rbegin(), bytes.rend() - kLengthBytes, std::byte{'}'});
    const std::uint64_t length = static_cast<std::uint64_t>(bytes.rend() - brace) - kLengthBytes;
    std::vector<std::byte> agreeing(bytes.begin(), bytes.end());
    for (std::size_t i = 0; i < kLengthBytes; ++i) agreeing[i] = static_cast<std::byte>(length >> (8 * i));
    take(agreeing);
    return 0;
}

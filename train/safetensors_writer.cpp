#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/error.h"
#include "train/safetensors.h"

namespace qstep {

namespace {

const char* format_name(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "F32";
        case DType::bf16:
            return "BF16";
        case DType::u8:
            return "U8";
        case DType::i32:
            return "I32";
        case DType::i64:
            return "I64";
        case DType::f64:
            return "F64";
    }
    QSTEP_CHECK(false, "unknown element type {}", static_cast<int>(dtype));
}

std::array<std::byte, 8> little_endian(std::uint64_t value) {
    std::array<std::byte, 8> bytes;
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
    return bytes;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const Metadata& metadata,
                       std::span<const TensorToWrite> tensors) {
    std::vector<const TensorToWrite*> order;
    for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
    std::ranges::stable_sort(order, std::greater{},
                             [](const TensorToWrite* tensor) { return size_of(tensor->dtype); });

    nlohmann::ordered_json header = nlohmann::ordered_json::object();
    header["__metadata__"] = metadata;
    std::uint64_t offset = 0;
    for (const TensorToWrite* tensor : order) {
        std::uint64_t bytes = size_of(tensor->dtype);
        for (const std::int64_t extent : tensor->shape) bytes *= static_cast<std::uint64_t>(extent);
        QSTEP_CHECK(bytes == tensor->data.size(), "tensor {} is given {} bytes and its shape has {}",
                    tensor->name, tensor->data.size(), bytes);
        QSTEP_CHECK(!header.contains(tensor->name), "tensor {} is written twice", tensor->name);
        header[tensor->name] = {{"dtype", format_name(tensor->dtype)},
                                {"shape", tensor->shape},
                                {"data_offsets", {offset, offset + bytes}}};
        offset += bytes;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');

    AtomicFile file(path);
    file.write(little_endian(text.size()));
    file.write(text);
    for (const TensorToWrite* tensor : order) file.write(tensor->data);
    file.commit();
}

}  // namespace qstep

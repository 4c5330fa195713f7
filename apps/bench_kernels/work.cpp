#include "apps/bench_kernels/work.h"

#include <algorithm>

#include "engine/backend.h"
#include "engine/random.h"

namespace qstep::bench {

namespace {

constexpr std::int64_t kPeriod = 1 << 20;
constexpr RandomStream kStream{1, Purpose::synthetic_data, 0};

std::vector<float> make_floats() {
    std::vector<float> values(static_cast<std::size_t>(kPeriod));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double scale = kStream.uniform(4 * i + 2);
        values[i] = static_cast<float>(kStream.normal(2 * i) * scale * scale);
    }
    return values;
}

}  // namespace

Tensors::~Tensors() {
    for (void* address : memory_) backend(context_.device()).release(address);
}

Tensor Tensors::allocate(DType dtype, const Shape& shape) {
    Tensor tensor{nullptr, dtype, shape};
    memory_.reserve(memory_.size() + 1);
    tensor.data = backend(context_.device()).allocate(tensor.bytes());
    memory_.push_back(tensor.data);
    return tensor;
}

void Tensors::repeat(const Tensor& tensor, const void* period, std::size_t bytes) {
    auto* to = static_cast<std::byte*>(tensor.data);
    for (std::size_t done = 0; done < tensor.bytes(); done += bytes)
        backend(context_.device())
            .copy_in(context_, to + done, period, std::min(bytes, tensor.bytes() - done));
}

Tensor Tensors::zeros(DType dtype, const Shape& shape) {
    const Tensor tensor = allocate(dtype, shape);
    backend(context_.device()).fill_zero(context_, tensor.data, tensor.bytes());
    return tensor;
}

Tensor Tensors::filled(const Shape& shape, float value) {
    const Tensor tensor = allocate(DType::f32, shape);
    const std::vector<float> values(static_cast<std::size_t>(std::min(tensor.count(), kPeriod)), value);
    repeat(tensor, values.data(), values.size() * sizeof(float));
    return tensor;
}

Tensor Tensors::random(DType dtype, const Shape& shape) {
    static const std::vector<float> floats = make_floats();
    const Tensor tensor = allocate(dtype, shape);
    const auto count = static_cast<std::size_t>(std::min(tensor.count(), kPeriod));
    if (dtype == DType::f32) {
        repeat(tensor, floats.data(), count * sizeof(float));
    } else if (dtype == DType::bf16) {
        std::vector<bf16> values(count);
        std::transform(floats.begin(), floats.begin() + static_cast<std::ptrdiff_t>(count), values.begin(),
                       [](float x) { return to_bf16(x); });
        repeat(tensor, values.data(), count * sizeof(bf16));
    } else {
        QSTEP_CHECK(dtype == DType::u8, "no random {}", name_of(dtype));
        std::vector<std::uint8_t> values(count);
        for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<std::uint8_t>(kStream.bits(i) >> 24);
        repeat(tensor, values.data(), count);
    }
    return tensor;
}

Tensor Tensors::indices(std::int64_t count, std::int64_t below) {
    const Tensor tensor = allocate(DType::i32, {count});
    std::vector<std::int32_t> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<std::int32_t>(kStream.below(i, static_cast<std::uint32_t>(below)));
    repeat(tensor, values.data(), values.size() * sizeof(std::int32_t));
    return tensor;
}

WeightLayout layout_of(const Context& context, WeightUse use, const Shape& master, DType precision) {
    const WeightLayout plain{DType::f32, master, WeightLayout::Gradient{DType::f32, master}};
    return weight_layout(context, use, master, precision).value_or(plain);
}

std::int64_t bytes_of(std::initializer_list<Tensor> tensors) {
    std::size_t bytes = 0;
    for (const Tensor& tensor : tensors) bytes += tensor.bytes();
    return static_cast<std::int64_t>(bytes);
}

}  // namespace qstep::bench

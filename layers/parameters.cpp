#include "layers/parameters.h"

#include <algorithm>

#include "engine/backend.h"
#include "engine/random.h"

namespace qstep {

namespace {

std::byte* bytes_of(const Tensor& tensor) {
    return static_cast<std::byte*>(tensor.data);
}

Tensor view(const Tensor& flat, std::int64_t offset, const Shape& shape) {
    return {bytes_of(flat) + static_cast<std::size_t>(offset) * sizeof(float), DType::f32, shape};
}

std::vector<float> starting_values(const ParameterStore::Parameter& parameter, std::uint64_t seed,
                                   std::uint32_t number) {
    std::vector<float> values(static_cast<std::size_t>(parameter.value.count()));
    const RandomStream stream{seed, Purpose::init_weights, number};
    for (std::size_t i = 0; i < values.size(); ++i) switch (parameter.init.kind) {
            case Init::Kind::constant:
                values[i] = static_cast<float>(parameter.init.value);
                break;
            case Init::Kind::normal:
                values[i] = static_cast<float>(parameter.init.value * stream.normal(i));
                break;
            case Init::Kind::uniform:
                values[i] = static_cast<float>(parameter.init.value * (2.0 * stream.uniform(i) - 1.0));
                break;
        }
    return values;
}

}  // namespace

int ParameterStore::add_parameter(std::string name, const Shape& shape, Init init, WeightUse use) {
    QSTEP_CHECK(!values_, "parameter {} is declared after allocation", name);
    parameters_.push_back(
        {std::move(name), {nullptr, DType::f32, shape}, {}, {}, {}, parameter_count_, init, use, {}, {}});
    parameter_count_ += shape.count();
    return static_cast<int>(parameters_.size()) - 1;
}

int ParameterStore::add_buffer(std::string name, const Shape& shape, double initial) {
    QSTEP_CHECK(!values_, "buffer {} is declared after allocation", name);
    buffers_.push_back({std::move(name), {nullptr, DType::f32, shape}, initial});
    buffer_count_ += shape.count();
    return static_cast<int>(buffers_.size()) - 1;
}

void ParameterStore::keep_residual() {
    QSTEP_CHECK(!values_, "the residual is asked for after allocation");
    keep_residual_ = true;
}

void ParameterStore::allocate(const Context& context, Arena& arena, DType precision) {
    values_ = arena.allocate(DType::f32, {parameter_count_});
    gradients_ = arena.allocate(DType::f32, {parameter_count_});
    momentum_ = arena.allocate(DType::f32, {parameter_count_});
    if (keep_residual_) residual_ = arena.allocate(DType::f32, {parameter_count_});
    buffer_values_ = arena.allocate(DType::f32, {buffer_count_});
    for (Parameter& parameter : parameters_) {
        const Shape shape = parameter.value.shape;
        parameter.value = view(values_, parameter.offset, shape);
        parameter.grad = view(gradients_, parameter.offset, shape);
        parameter.momentum = view(momentum_, parameter.offset, shape);
        if (keep_residual_) parameter.residual = view(residual_, parameter.offset, shape);
    }
    allocate_copies(context, arena, precision);
    std::int64_t offset = 0;
    for (Buffer& buffer : buffers_) {
        buffer.value = view(buffer_values_, offset, buffer.value.shape);
        offset += buffer.value.count();
    }
}

void ParameterStore::allocate_copies(const Context& context, Arena& arena, DType precision) {
    copies_.clear();
    for (Parameter& parameter : parameters_) {
        parameter.operand = parameter.value;
        parameter.operand_grad = parameter.grad;
        const auto layout = weight_layout(context, parameter.use, parameter.value.shape, precision);
        if (!layout) continue;
        WeightCopy copy{parameter.value, parameter.grad, arena.allocate(layout->dtype, layout->shape), {}};
        if (layout->gradient)
            copy.copy_gradient = arena.allocate(layout->gradient->dtype, layout->gradient->shape);
        parameter.operand = copy.copy;
        if (layout->gradient) parameter.operand_grad = copy.copy_gradient;
        copies_.push_back(copy);
    }
}

void ParameterStore::refresh_operands(Context& context) const {
    make_weight_copies(context, copies_);
}

void ParameterStore::collect_gradients(Context& context) const {
    collect_weight_gradients(context, copies_);
}

void ParameterStore::initialize(Context& context, std::uint64_t seed) {
    Backend& device = backend(context.device());
    for (std::size_t number = 0; number < parameters_.size(); ++number) {
        const auto values = starting_values(parameters_[number], seed, static_cast<std::uint32_t>(number));
        device.copy_in(context, parameters_[number].value.data, values.data(), values.size() * sizeof(float));
    }
    for (const Buffer& buffer : buffers_) {
        const std::vector<float> values(static_cast<std::size_t>(buffer.value.count()),
                                        static_cast<float>(buffer.initial));
        device.copy_in(context, buffer.value.data, values.data(), values.size() * sizeof(float));
    }
    device.fill_zero(context, momentum_.data, momentum_.bytes());
    device.fill_zero(context, gradients_.data, gradients_.bytes());
    if (keep_residual_) device.fill_zero(context, residual_.data, residual_.bytes());
}

const ParameterStore::Parameter& ParameterStore::parameter_at(std::int64_t flat_index) const {
    QSTEP_CHECK(flat_index >= 0 && flat_index < parameter_count_, "no parameter holds element {}",
                flat_index);
    const auto after = std::ranges::upper_bound(parameters_, flat_index, {}, &Parameter::offset);
    return *std::prev(after);
}

}  // namespace qstep

// Parameters, gradients and momentum as three flat buffers, the running statistics as a fourth, and the
// copies of weights that the device computes with.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "engine/arena.h"
#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/weight_copies.h"

namespace qstep {

/// How a parameter starts. Every draw is a function of (seed, parameter number, element).
struct Init {
    /// The distribution.
    enum class Kind { constant, normal, uniform } kind = Kind::constant;
    /// constant: the value; normal: the standard deviation (mean 0); uniform: the bound b of U(-b, b).
    double value = 0.0;

    /// Every element.
    static Init constant(double value) { return {Kind::constant, value}; }
    /// Mean 0.
    static Init normal(double standard_deviation) { return {Kind::normal, standard_deviation}; }
    /// U(-bound, bound).
    static Init uniform(double bound) { return {Kind::uniform, bound}; }
    /// PyTorch's default for weights (kaiming_uniform with a = sqrt(5)) and bias of a convolution or linear
    /// layer alike: U(-b, b), b = 1/sqrt(fan_in).
    static Init pytorch_default(std::int64_t fan_in) {
        return uniform(1.0 / std::sqrt(static_cast<double>(fan_in)));
    }
};

/// Everything a network learns or tracks. Names and order are those of the PyTorch module of the same
/// structure; every tensor lies in PyTorch's layout (convolutions [O,I,KH,KW], linear [out,in]), one behind
/// the other without gaps, so a bucket of the flat gradient covers the same elements as in the original
/// system.
class ParameterStore {
  public:
    /// One learned tensor.
    struct Parameter {
        std::string name;
        Tensor value, grad, momentum;  // f32, views into the flat buffers
        Tensor residual;               // likewise, where it is kept
        std::int64_t offset;           // of the first element in the flat buffers
        Init init;
        WeightUse use;
        Tensor operand, operand_grad;  // what kernels are given: value and grad, or copies of them
    };
    /// One running statistic.
    struct Buffer {
        std::string name;
        Tensor value;  // f32
        double initial;
    };

    /// Declares a parameter; returns its number. Only before allocate().
    int add_parameter(std::string name, const Shape& shape, Init init, WeightUse use = WeightUse::other);
    /// Declares a running statistic; returns its number. Only before allocate().
    int add_buffer(std::string name, const Shape& shape, double initial);

    /// Asks for a fourth flat buffer, for what error feedback carries on. Only before allocate().
    void keep_residual();

    /// Allocates the flat buffers from `arena`, which may be measuring: called once for each phase of it; and
    /// the copies of weights for activations of type `precision`.
    void allocate(const Context& context, Arena& arena, DType precision);
    /// Writes the starting values of parameters and buffers, and zero momentum and residual.
    void initialize(Context& context, std::uint64_t seed);

    /// Brings the copies up to date; before any kernel reads an operand, after every change of a parameter.
    void refresh_operands(Context& context) const;
    /// Brings gradients of copies to the flat buffer; after the last kernel that writes one.
    void collect_gradients(Context& context) const;

    /// Flat f32 views of all parameters, [parameter_count()].
    Tensor values() const { return values_; }
    Tensor gradients() const { return gradients_; }
    Tensor momentum() const { return momentum_; }
    /// Absent unless it is kept.
    Tensor residual() const { return residual_; }

    std::int64_t parameter_count() const { return parameter_count_; }
    const std::vector<Parameter>& parameters() const { return parameters_; }
    const std::vector<Buffer>& buffers() const { return buffers_; }
    /// The parameter that holds this element of the flat buffers.
    const Parameter& parameter_at(std::int64_t flat_index) const;

  private:
    void allocate_copies(const Context& context, Arena& arena, DType precision);

    std::vector<Parameter> parameters_;
    std::vector<Buffer> buffers_;
    std::vector<WeightCopy> copies_;
    Tensor values_, gradients_, momentum_, residual_, buffer_values_;
    bool keep_residual_ = false;
    std::int64_t parameter_count_ = 0;
    std::int64_t buffer_count_ = 0;
};

}  // namespace qstep

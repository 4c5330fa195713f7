// A naive convolution in double precision, and test tensors that own their memory.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/random.h"
#include "kernels/conv2d.h"

namespace qstep::test {

using Doubles = std::vector<double>;

/// A host tensor with values of its own.
class Owned {
  public:
    Owned(DType dtype, const Shape& shape)
        : memory_(static_cast<std::size_t>(shape.count()) * size_of(dtype) + kGuard, std::byte{0xff}),
          tensor_{memory_.data(), dtype, shape} {}
    /// Standard normal values, drawn by `seed`, scaled, moved, and rounded to the type.
    Owned(DType dtype, const Shape& shape, std::uint64_t seed, double scale = 1, double offset = 0)
        : Owned(dtype, shape) {
        const RandomStream stream{.seed = seed};
        Doubles values(static_cast<std::size_t>(shape.count()));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = offset + scale * stream.normal(i);
        set(values);
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    Owned(Owned&& other) noexcept : memory_(std::move(other.memory_)), tensor_(other.tensor_) {}

    operator const Tensor&() const { return tensor_; }
    const Tensor& tensor() const { return tensor_; }

    void set(const Doubles& values) {
        for (std::size_t i = 0; i < values.size(); ++i)
            if (tensor_.dtype == DType::bf16)
                tensor_.span<bf16>()[i] = to_bf16(static_cast<float>(values[i]));
            else
                tensor_.span<float>()[i] = static_cast<float>(values[i]);
    }
    Doubles values() const {
        Doubles result(static_cast<std::size_t>(tensor_.count()));
        for (std::size_t i = 0; i < result.size(); ++i)
            result[i] = tensor_.dtype == DType::bf16 ? static_cast<double>(to_float(tensor_.span<bf16>()[i]))
                                                     : static_cast<double>(tensor_.span<float>()[i]);
        return result;
    }
    bool same_bits(const Owned& other) const {
        return std::memcmp(tensor_.data, other.tensor_.data, tensor_.bytes()) == 0;
    }
    /// Whether the bytes behind the tensor are as they were.
    bool guard_intact() const {
        for (std::size_t i = tensor_.bytes(); i < memory_.size(); ++i)
            if (memory_[i] != std::byte{0xff}) return false;
        return true;
    }

  private:
    static constexpr std::size_t kGuard = 256;
    std::vector<std::byte> memory_;
    Tensor tensor_;
};

/// A convolution and both gradients by definition. `visit(n, p, q, o, i, r, s, h, w)` is called for every
/// product of the sum in conv2d.h that lies inside the image.
template <typename Visit>
void for_each_product(const Conv2dShape& c, Visit&& visit) {
    for (std::int64_t n = 0; n < c.batch; ++n)
        for (std::int64_t p = 0; p < c.out_height(); ++p)
            for (std::int64_t q = 0; q < c.out_width(); ++q)
                for (std::int64_t r = 0; r < c.kernel_h; ++r)
                    for (std::int64_t s = 0; s < c.kernel_w; ++s) {
                        const std::int64_t h = p * c.stride + r - c.pad, w = q * c.stride + s - c.pad;
                        if (h < 0 || h >= c.height || w < 0 || w >= c.width) continue;
                        const std::int64_t x = ((n * c.height + h) * c.width + w) * c.in_channels;
                        const std::int64_t y =
                            ((n * c.out_height() + p) * c.out_width() + q) * c.out_channels;
                        for (std::int64_t o = 0; o < c.out_channels; ++o)
                            for (std::int64_t i = 0; i < c.in_channels; ++i)
                                visit(static_cast<std::size_t>(y + o), static_cast<std::size_t>(x + i),
                                      static_cast<std::size_t>(
                                          ((o * c.in_channels + i) * c.kernel_h + r) * c.kernel_w + s));
                    }
}

inline Doubles zeros(const Shape& shape) {
    return Doubles(static_cast<std::size_t>(shape.count()), 0.0);
}

inline Doubles reference_forward(const Conv2dShape& c, const Doubles& x, const Doubles& w,
                                 const Doubles& bias) {
    Doubles y = zeros(c.y());
    if (!bias.empty())
        for (std::size_t k = 0; k < y.size(); ++k) y[k] = bias[k % bias.size()];
    for_each_product(c,
                     [&](std::size_t to, std::size_t from, std::size_t tap) { y[to] += x[from] * w[tap]; });
    return y;
}

inline Doubles reference_backward_data(const Conv2dShape& c, const Doubles& dy, const Doubles& w) {
    Doubles dx = zeros(c.x());
    for_each_product(c,
                     [&](std::size_t to, std::size_t from, std::size_t tap) { dx[from] += dy[to] * w[tap]; });
    return dx;
}

inline Doubles reference_backward_weights(const Conv2dShape& c, const Doubles& dy, const Doubles& x) {
    Doubles dw = zeros(c.w());
    for_each_product(c,
                     [&](std::size_t to, std::size_t from, std::size_t tap) { dw[tap] += dy[to] * x[from]; });
    return dw;
}

inline Doubles reference_backward_bias(const Conv2dShape& c, const Doubles& dy) {
    Doubles dbias(static_cast<std::size_t>(c.out_channels), 0.0);
    for (std::size_t k = 0; k < dy.size(); ++k) dbias[k % dbias.size()] += dy[k];
    return dbias;
}

/// The largest |a - b| over the root mean square of b.
inline double distance(const Doubles& a, const Doubles& b) {
    double worst = 0, squares = 0;
    for (std::size_t k = 0; k < b.size(); ++k) {
        const double difference = std::fabs(a[k] - b[k]);
        if (!(difference <= worst)) worst = difference;  // NaN stays
        squares += b[k] * b[k];
    }
    return worst / (std::sqrt(squares / static_cast<double>(b.size())) + 1e-30);
}

}  // namespace qstep::test

// Running one call on the CPU backend and on a GPU, with the same numbers, and looking at what comes back.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "engine/backend.h"
#include "kernels/weight_copies.h"
#include "tests/kernels/compare.h"

namespace qstep::test {

constexpr Device kGpu{DeviceKind::cuda, 0};

// Comparisons of two backends, as test::distance() measures: the largest difference over the root mean
// square.
/// Two float32 sums of up to 10^4 products in different orders, the largest error of 10^5 elements: each is
/// off by up to 6 * sqrt(10^4) * 2^-24. Winograd's F(2x2,3x3), which cuDNN may choose, loses a little more.
constexpr double kF32Backends = 1e-4;
/// tf32 keeps 10 bits of a factor's mantissa, so that a product is off by up to 2 * 2^-11 of itself where
/// they are rounded and twice that where they are cut. Such errors add up like the products do; the largest
/// of 10^5 results is off by some six times the usual one, and the usual one by half the worst.
constexpr double kTf32Backends = 6 * 0x1p-10;
/// Both results are rounded to bf16 (2^-9 of an element, which is up to six root mean squares), and rounded
/// twice where a bias or an older value is added after storing.
constexpr double kBf16Backends = 2 * 2 * 6 * 0x1p-9;

/// Device memory with the values of a host tensor, and room behind it that nobody may write.
class OnGpu {
  public:
    OnGpu(Context& context, const Tensor& host)
        : context_(context),
          memory_(backend(kGpu).allocate(host.bytes() + kGuard)),
          tensor_{memory_, host.dtype, host.shape} {
        std::vector<std::byte> bytes(host.bytes() + kGuard, std::byte{0xff});
        std::memcpy(bytes.data(), host.data, host.bytes());
        backend(kGpu).copy_in(context_, memory_, bytes.data(), bytes.size());
    }
    ~OnGpu() { backend(kGpu).release(memory_); }
    OnGpu(const OnGpu&) = delete;
    OnGpu& operator=(const OnGpu&) = delete;

    operator const Tensor&() const { return tensor_; }
    const Tensor& tensor() const { return tensor_; }
    /// The values, after checking the guard.
    Doubles values() const { return host().values(); }
    Owned host() const {
        std::vector<std::byte> bytes(tensor_.bytes() + kGuard);
        backend(kGpu).copy_out(context_, bytes.data(), memory_, bytes.size());
        EXPECT_TRUE(std::all_of(bytes.end() - kGuard, bytes.end(), [](std::byte b) {
            return b == std::byte{0xff};
        })) << "bytes behind the tensor were written";
        Owned copy(tensor_.dtype, tensor_.shape);
        std::memcpy(copy.tensor().data, bytes.data(), tensor_.bytes());
        return copy;
    }

  private:
    static constexpr std::size_t kGuard = 256;
    Context& context_;
    void* memory_;
    Tensor tensor_;
};

/// One operand on both sides.
struct Both {
    Both(Context& gpu, Owned values) : cpu(std::move(values)), on_gpu(gpu, cpu) {}
    double difference() const { return distance(on_gpu.values(), cpu.values()); }
    Owned cpu;
    OnGpu on_gpu;
};

/// A weight and its gradient on both sides, and what the kernels of each side are given in their place.
class BothWeight {
  public:
    BothWeight(Context& gpu, Owned value, Owned gradient, WeightUse use, DType precision)
        : gpu_(gpu), value_(gpu, std::move(value)), gradient_(gpu, std::move(gradient)) {
        const Tensor weight = value_.on_gpu.tensor(), gradients = gradient_.on_gpu.tensor();
        copy_ = {weight, gradients, {}, {}};
        if (const auto layout = weight_layout(gpu, use, weight.shape, precision)) {
            copy_.copy = memory_.emplace_back(gpu, Owned(layout->dtype, layout->shape));
            make_weight_copies(gpu, std::vector{copy_});
            if (!layout->gradient) return;
            // The gradient's copy, or the first of its parts, begins with the gradient, to be added to.
            Owned zeros(layout->gradient->dtype, layout->gradient->shape);
            zeros.set(Doubles(static_cast<std::size_t>(layout->gradient->shape.count())));
            copy_.copy_gradient = memory_.emplace_back(gpu, zeros);
            const Tensor first{copy_.copy_gradient.data, layout->gradient->dtype, layout->shape};
            make_weight_copies(gpu, std::vector<WeightCopy>{{gradients, {}, first, {}}});
        }
    }
    const Owned& on_cpu() const { return value_.cpu; }
    const Owned& gradient_on_cpu() const { return gradient_.cpu; }
    Tensor on_gpu() const { return copy_.copy ? copy_.copy : copy_.weight; }
    Tensor gradient_on_gpu() const { return copy_.copy_gradient ? copy_.copy_gradient : copy_.gradient; }
    /// The GPU's gradient, brought back from the copy.
    const OnGpu& collect() {
        collect_weight_gradients(gpu_, std::vector{copy_});
        return gradient_.on_gpu;
    }
    /// Of the two gradients.
    double difference() {
        collect();
        return gradient_.difference();
    }

  private:
    Context& gpu_;
    Both value_, gradient_;
    std::deque<OnGpu> memory_;
    WeightCopy copy_;
};

/// Skips every test where there is no GPU.
class GpuTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    }
};

}  // namespace qstep::test

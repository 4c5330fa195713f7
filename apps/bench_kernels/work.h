// What is measured: one launch of a kernel, on tensors made for it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/weight_copies.h"

namespace qstep::bench {

/// Elements of the codecs' and elementwise kernels' tensors; 272,474 is the gradient of ResNet-20.
inline constexpr std::array<std::int64_t, 5> kSizes{1 << 12, 1 << 16, 272474, 1 << 22, 1 << 26};
/// ResNet-20's batch.
inline constexpr std::int64_t kBatch = 128;
inline constexpr std::array<DType, 2> kFloats{DType::f32, DType::bf16};

/// The tensors of one benchmark; each has memory of its own, and all of it ends with this.
class Tensors {
  public:
    explicit Tensors(Context& context) : context_(context) {}
    ~Tensors();
    Tensors(const Tensors&) = delete;
    Tensors& operator=(const Tensors&) = delete;

    Tensor zeros(DType dtype, const Shape& shape);
    /// f32, all of this value.
    Tensor filled(const Shape& shape, float value);
    /// Normal numbers times squares of uniform ones, so most are small and some far out, as in a gradient;
    /// f32 or bf16. They repeat after 2^20. u8: uniform.
    Tensor random(DType dtype, const Shape& shape);
    /// i32 [count], uniform in 0 .. below-1.
    Tensor indices(std::int64_t count, std::int64_t below);

  private:
    Tensor allocate(DType dtype, const Shape& shape);
    /// Fills the tensor with the bytes of `period`, over and over.
    void repeat(const Tensor& tensor, const void* period, std::size_t bytes);

    Context& context_;
    std::vector<void*> memory_;
};

/// The layout in which the device's kernels take a weight: its own where there is no other.
WeightLayout layout_of(const Context& context, WeightUse use, const Shape& master, DType precision);

struct Work {
    std::int64_t elements = 0;
    /// Memory traffic of a launch: each input once, each output once.
    std::int64_t bytes = 0;
    /// Multiply-adds of a launch, where these bound it rather than bytes; else 0.
    std::int64_t multiply_adds = 0;
    std::function<void(Context&)> launch;
    /// Where a launch overwrites what the next one would read: a launch that puts it back. Absent where
    /// launches may follow each other as they are.
    std::function<void(Context&)> restore = nullptr;
    /// Once before all launches, when there is workspace; may be absent.
    std::function<void(Context&)> prepare = nullptr;
};

/// Sum over tensors; list once each that is read and each that is written.
std::int64_t bytes_of(std::initializer_list<Tensor> tensors);

struct Benchmark {
    std::string name;
    /// Makes tensors and plans and reserves workspace; the work lives no longer than the two.
    std::function<Work(Context&, Tensors&)> make;
};

/// Each family of benchmarks adds its own.
void add_codecs(std::vector<Benchmark>& to);
void add_elementwise(std::vector<Benchmark>& to);
void add_batch_norm(std::vector<Benchmark>& to);
void add_convolution(std::vector<Benchmark>& to);
void add_step_ends(std::vector<Benchmark>& to);
/// Only for devices that keep copies of weights: GPUs.
void add_weight_copies(std::vector<Benchmark>& to);

}  // namespace qstep::bench

// The same tensor on the CPU and on the GPU, for tests that hold the two backends against each other.
#pragma once

#include <optional>
#include <utility>

#include "engine/backend.h"
#include "tests/kernels/compare.h"

namespace qstep::test {

/// A test that needs a GPU; skipped, and reported so, where there is none. Calls on cpu() and gpu() are
/// compared.
class OnBoth : public ::testing::Test {
  protected:
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
        cpu_.emplace(Device{}, 2);
        gpu_.emplace(Device{DeviceKind::cuda, 0});
    }
    Context& cpu() { return *cpu_; }
    Context& gpu() { return *gpu_; }
    /// Lets kernels borrow what size_of(context) asks for on each device. Once a test.
    template <typename SizeOf>
    void reserve(const SizeOf& size_of_scratch) {
        for (Context* context : {&cpu(), &gpu()}) {
            context->workspace().reserve(size_of_scratch(*context));
            context->workspace().freeze();
        }
    }
    Backend& backend() { return qstep::backend(gpu_->device()); }

  private:
    std::optional<Context> cpu_, gpu_;
};

/// Two tensors with the same bytes to begin with: standard normal values, or 0xff.
class Twin {
  public:
    /// `skipped` elements lie before the tensor, so that its address suits no vector.
    Twin(Context& gpu, DType dtype, const Shape& shape, std::int64_t skipped = 0)
        : gpu_(&gpu), host_(dtype, {shape.count() + skipped + kGuard}), shape_(shape), skipped_(skipped) {
        allocate();
    }
    Twin(Context& gpu, DType dtype, const Shape& shape, std::uint64_t seed, double scale, double offset = 0,
         std::int64_t skipped = 0)
        : gpu_(&gpu),
          host_(dtype, {shape.count() + skipped + kGuard}, seed, scale, offset),
          shape_(shape),
          skipped_(skipped) {
        allocate();
    }
    ~Twin() {
        if (device_ != nullptr) backend(gpu_->device()).release(device_);
    }
    Twin(Twin&& other) noexcept
        : gpu_(other.gpu_),
          host_(std::move(other.host_)),
          shape_(other.shape_),
          skipped_(other.skipped_),
          device_(std::exchange(other.device_, nullptr)) {}

    Tensor cpu() const { return view(host_.tensor().data); }
    Tensor gpu() const { return view(device_); }
    Tensor on(const Context& context) const {
        return context.device().kind == DeviceKind::cuda ? gpu() : cpu();
    }

    /// Makes the GPU's bytes those of the CPU.
    void upload() {
        backend(gpu_->device()).copy_in(*gpu_, device_, host_.tensor().data, host_.tensor().bytes());
    }

    /// What the GPU holds, with what lies before and behind.
    Owned fetch_all() const {
        Owned copy(host_.tensor().dtype, host_.tensor().shape);
        backend(gpu_->device()).copy_out(*gpu_, copy.tensor().data, device_, copy.tensor().bytes());
        return copy;
    }
    Owned fetch() const {
        const Owned all = fetch_all();
        Owned copy(all.tensor().dtype, shape_);
        std::memcpy(copy.tensor().data, view(all.tensor().data).data, copy.tensor().bytes());
        return copy;
    }

    /// GPU against CPU, and nothing written outside.
    void expect_close(double relative, double absolute) const {
        Owned mine(host_.tensor().dtype, shape_);
        std::memcpy(mine.tensor().data, cpu().data, mine.tensor().bytes());
        test::expect_close(fetch().values(), mine.values(), relative, absolute);
        expect_guards();
    }
    void expect_same_values() const { expect_close(0, 0); }
    void expect_same_bits() const {
        const Owned all = fetch_all();
        EXPECT_TRUE(all.same_bits(host_));
    }
    void expect_guards() const {
        const Owned all = fetch_all();
        const std::size_t size = size_of(host_.tensor().dtype);
        const auto same = [&](std::int64_t first, std::int64_t count) {
            const std::size_t at = static_cast<std::size_t>(first) * size;
            return std::memcmp(static_cast<const std::byte*>(all.tensor().data) + at,
                               static_cast<const std::byte*>(host_.tensor().data) + at,
                               static_cast<std::size_t>(count) * size) == 0;
        };
        EXPECT_TRUE(same(0, skipped_)) << "written before the tensor";
        EXPECT_TRUE(same(skipped_ + shape_.count(), kGuard)) << "written behind the tensor";
    }

  private:
    static constexpr std::int64_t kGuard = 64;
    void allocate() {
        device_ = backend(gpu_->device()).allocate(host_.tensor().bytes());
        upload();
    }
    Tensor view(void* data) const {
        const DType dtype = host_.tensor().dtype;
        return {static_cast<std::byte*>(data) + static_cast<std::size_t>(skipped_) * size_of(dtype), dtype,
                shape_};
    }

    Context* gpu_;
    Owned host_;
    Shape shape_;
    std::int64_t skipped_;
    void* device_ = nullptr;
};

/// Runs the call for both devices.
#define QSTEP_ON_BOTH(context, ...)           \
    for (Context * each : {&cpu(), &gpu()}) { \
        Context& context = *each;             \
        __VA_ARGS__;                          \
    }

}  // namespace qstep::test

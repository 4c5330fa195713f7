// Runs a codec once on any device, on memory of its own there.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "engine/backend.h"
#include "engine/context.h"
#include "quant/codec.h"
#include "tests/quant/codec_runner.h"

namespace qstep::test {

/// Device memory that begins `skip` elements behind an aligned address, with guards around that must stay.
class DeviceArray {
  public:
    DeviceArray(Context& context, const void* values, std::size_t bytes, std::size_t skip = 0)
        : context_(context), bytes_(bytes), begin_(kGuard + skip), all_(begin_ + bytes + kGuard, kMark) {
        base_ = backend(context.device()).allocate(all_.size());
        std::memcpy(all_.data() + begin_, values, bytes);
        backend(context.device()).copy_in(context, base_, all_.data(), all_.size());
    }
    ~DeviceArray() { backend(context_.device()).release(base_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    void* address() const { return static_cast<std::byte*>(base_) + begin_; }
    Tensor tensor(DType dtype, std::int64_t count) const { return {address(), dtype, {count}}; }
    /// Copies the values out; false when a guard was written to.
    bool read(void* values) {
        backend(context_.device()).copy_out(context_, all_.data(), base_, all_.size());
        std::memcpy(values, all_.data() + begin_, bytes_);
        for (std::size_t i = 0; i < all_.size(); ++i)
            if ((i < begin_ || i >= begin_ + bytes_) && all_[i] != kMark) return false;
        return true;
    }

  private:
    static constexpr std::size_t kGuard = 64;
    static constexpr std::byte kMark{0xa5};
    Context& context_;
    std::size_t bytes_, begin_;
    std::vector<std::byte> all_;
    void* base_ = nullptr;
};

inline std::size_t size_in_bytes(const std::vector<float>& x) {
    return x.size() * sizeof(float);
}

/// skip: elements between the arrays and an address that suits vectors.
inline Result run_on(Device device, const CodecSettings& settings, const std::vector<float>& in,
                     std::int64_t step = 3, bool in_place = false, std::size_t skip = 0) {
    Context context(device, 2);
    const auto count = static_cast<std::int64_t>(in.size());
    const auto codec = make_codec(context, settings, count);
    context.workspace().freeze();
    const std::vector<float> garbage(in.size(), 12345.0f);
    const double no_variance = -1;
    DeviceArray from(context, in.data(), size_in_bytes(in), skip * sizeof(float)),
        to(context, garbage.data(), size_in_bytes(in), skip * sizeof(float));
    DeviceArray number(context, &step, sizeof step), variance(context, &no_variance, sizeof no_variance);
    DeviceArray& out = in_place ? from : to;
    codec->quantize(context, out.tensor(DType::f32, count), from.tensor(DType::f32, count),
                    number.tensor(DType::i64, 1), variance.tensor(DType::f64, 1));
    Result result{in, -1};
    EXPECT_TRUE(out.read(result.values.data())) << "written outside of out";
    EXPECT_TRUE(variance.read(&result.variance));
    if (!in_place) {
        std::vector<float> after = in;
        EXPECT_TRUE(from.read(after.data()));
        EXPECT_TRUE(same_bits(after, in)) << "the input has changed";
    }
    return result;
}

inline const Device kGpu{DeviceKind::cuda, 0};

/// "", or how two results differ.
inline std::string difference(const Result& cpu, const Result& gpu) {
    for (std::size_t i = 0; i < cpu.values.size(); ++i)
        if (std::memcmp(&cpu.values[i], &gpu.values[i], sizeof(float)) != 0)
            return fmt::format("element {}: {} on the CPU, {} on the GPU", i, cpu.values[i], gpu.values[i]);
    if (std::memcmp(&cpu.variance, &gpu.variance, sizeof(double)) != 0)
        return fmt::format("variance: {} on the CPU, {} on the GPU", cpu.variance, gpu.variance);
    return "";
}

/// Tests that need a GPU; skipped, and reported so, where there is none.
class CudaCodecs : public ::testing::Test {
  protected:
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    }
    static void expect_same(const CodecSettings& settings, const std::vector<float>& x,
                            std::int64_t step = 3) {
        const std::string message =
            difference(run_on(Device{}, settings, x, step), run_on(kGpu, settings, x, step));
        EXPECT_EQ(message, "") << name_of(settings.kind) << " bucket " << settings.bucket_size << " levels "
                               << settings.levels << " elements " << x.size();
    }
};

}  // namespace qstep::test

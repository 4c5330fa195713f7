// The CUDA device beneath the kernels: memory, copies, launches, captured and eager steps.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend.h"
#include "engine/error.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::test {

namespace {

constexpr Device kGpu{DeviceKind::cuda, 0};

__global__ void scale_kernel(float* values, std::int64_t n, float factor) {
    const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    cuda::wait_for_predecessor();
    if (i < n) values[i] *= factor;
}

// Through dynamic shared memory of any size: out[i] = in[n - 1 - i].
__global__ void reverse_kernel(float* out, const float* in, std::int64_t n) {
    float* copy = cuda::dynamic_shared<float>();
    cuda::wait_for_predecessor();
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) copy[i] = in[i];
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) out[i] = copy[n - 1 - i];
}

std::string message_of(const std::function<void()>& function) {
    try {
        function();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run) << error.what();
        return error.what();
    }
    return "no error";
}

/// f32 values in the device's memory.
class DeviceValues {
  public:
    DeviceValues(Context& context, const std::vector<float>& values)
        : context_(context), count_(values.size()), data_(backend(kGpu).allocate(bytes())) {
        backend(kGpu).copy_in(context_, data_, values.data(), bytes());
    }
    ~DeviceValues() { backend(kGpu).release(data_); }
    DeviceValues(const DeviceValues&) = delete;
    DeviceValues& operator=(const DeviceValues&) = delete;

    float* data() const { return static_cast<float*>(data_); }
    std::int64_t count() const { return static_cast<std::int64_t>(count_); }
    std::vector<float> values() const {
        std::vector<float> host(count_);
        backend(kGpu).copy_out(context_, host.data(), data_, bytes());
        return host;
    }

  private:
    std::size_t bytes() const { return count_ * sizeof(float); }
    Context& context_;
    std::size_t count_;
    void* data_;
};

std::vector<float> counting(std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 8191);
    return values;
}

void scale(Context& context, const DeviceValues& on_device, float factor) {
    cuda::launch(context, "scale", scale_kernel, {(on_device.count() + 255) / 256, 256}, on_device.data(),
                 on_device.count(), factor);
}

class CudaDevice : public testing::Test {
  protected:
    void SetUp() override {
        if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    }
};

TEST_F(CudaDevice, CopiesOfEverySize) {
    Context context(kGpu);
    // Around the 4 MiB blocks through which copies pass, and more of them than there are.
    for (const std::size_t count : {1u, 3u, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 9u << 20}) {
        const std::vector<float> values = counting(count);
        const DeviceValues on_device(context, values);
        EXPECT_EQ(on_device.values(), values) << count;
    }
}

TEST_F(CudaDevice, HostBytesMayBeReusedAtOnce) {
    Context context(kGpu);
    std::vector<float> values = counting(100'000);
    const DeviceValues on_device(context, values);
    const std::vector<float> first = values;
    values.assign(values.size(), -1.0f);
    EXPECT_EQ(on_device.values(), first);
}

TEST_F(CudaDevice, LaunchesAndFills) {
    Context context(kGpu);
    const DeviceValues on_device(context, {1.0f, 2.0f, 3.0f});
    scale(context, on_device, 2.0f);
    EXPECT_EQ(on_device.values(), (std::vector<float>{2.0f, 4.0f, 6.0f}));
    backend(kGpu).fill_zero(context, on_device.data() + 1, sizeof(float));
    EXPECT_EQ(on_device.values(), (std::vector<float>{2.0f, 0.0f, 6.0f}));
    cuda::launch(context, "scale", scale_kernel, {0, 256}, on_device.data(), 0, 2.0f);
    backend(kGpu).synchronize(context);
}

TEST_F(CudaDevice, DynamicSharedMemoryBelowAndAbove48Kib) {
    Context context(kGpu);
    for (const std::size_t count : {5u, 10'000u, 20'000u, 40'000u, 15'000u}) {
        const std::vector<float> values = counting(count);
        const DeviceValues in(context, values), out(context, values);
        cuda::launch(context, "reverse", reverse_kernel, {1, 128, count * sizeof(float)}, out.data(),
                     in.data(), in.count());
        EXPECT_EQ(out.values(), std::vector<float>(values.rbegin(), values.rend())) << count;
    }
}

TEST_F(CudaDevice, ACapturedStepRunsOnceAndIsRecordedOnce) {
    Context context(kGpu);
    const DeviceValues on_device(context, counting(1000));
    int calls = 0;
    const auto step = backend(kGpu).capture(context, [&](Context& inside) {
        ++calls;
        scale(inside, on_device, 2.0f);
        scale(inside, on_device, 2.0f);
    });
    EXPECT_EQ(on_device.values()[3], 3.0f * 4) << "recording must not run anything";
    step->launch(1);
    step->launch(2);
    EXPECT_EQ(on_device.values()[3], 3.0f * 256);
    EXPECT_EQ(calls, 2);
}

TEST_F(CudaDevice, AnEagerStepRunsTheFunctionEachTime) {
    Context context(kGpu);
    context.set_eager(true);
    const DeviceValues on_device(context, counting(1000));
    int calls = 0;
    const auto step = backend(kGpu).capture(context, [&](Context& inside) {
        ++calls;
        scale(inside, on_device, 2.0f);
    });
    step->launch(3);
    EXPECT_EQ(on_device.values()[3], 3.0f * 8);
    EXPECT_EQ(calls, 3);
}

TEST_F(CudaDevice, AFailedCaptureLeavesTheStreamUsable) {
    Context context(kGpu);
    const DeviceValues on_device(context, counting(10));
    bool recording = false;
    EXPECT_NE(message_of([&] {
                  backend(kGpu).capture(context, [&](Context& inside) {
                      scale(inside, on_device, 2.0f);
                      if (std::exchange(recording, true)) fail_run("the step failed");
                  });
              }).find("the step failed"),
              std::string::npos);
    EXPECT_EQ(on_device.values()[3], 3.0f * 2) << "once before the recording, and not in it";
    std::vector<float> host{5.0f};
    for (const auto& forbidden : std::vector<std::function<void(Context&)>>{
             [](Context& inside) { backend(kGpu).synchronize(inside); },
             [&](Context& inside) { backend(kGpu).copy_in(inside, on_device.data(), host.data(), 4); },
             [&](Context& inside) { backend(kGpu).copy_out(inside, host.data(), on_device.data(), 4); }})
        EXPECT_THROW(backend(kGpu).capture(context, forbidden), Error);
    EXPECT_EQ(on_device.values()[3], 3.0f * 2);
}

TEST_F(CudaDevice, ErrorsNameTheRemedy) {
    Context context(kGpu);
    const std::string memory =
        message_of([] { backend(kGpu).allocate(std::size_t{1} << 50, "a smaller --size needs less"); });
    EXPECT_NE(memory.find("has no room for 1073741824.0 MiB"), std::string::npos) << memory;
    EXPECT_TRUE(memory.ends_with("; a smaller --size needs less")) << memory;

    const DeviceValues on_device(context, {1.0f});
    const std::string launch = message_of([&] {
        cuda::launch(context, "greedy", scale_kernel, {7, 64, std::size_t{1} << 20}, on_device.data(), 1,
                     1.0f);
    });
    for (const char* part : {"greedy", "7 blocks", "64 threads", "1048576 bytes"})
        EXPECT_NE(launch.find(part), std::string::npos) << launch;

    const int count = device_count(DeviceKind::cuda);
    const std::string index = message_of([&] { backend({DeviceKind::cuda, count}); });
    EXPECT_NE(index.find("there is no cuda:"), std::string::npos) << index;
    EXPECT_EQ(on_device.values()[0], 1.0f) << "the device works after errors";
}

TEST_F(CudaDevice, TwoContextsHaveStreamsOfTheirOwn) {
    Context first(kGpu), second(kGpu);
    EXPECT_NE(first.stream(), second.stream());
    const DeviceValues a(first, {1.0f}), b(second, {1.0f});
    scale(first, a, 2.0f);
    scale(second, b, 3.0f);
    EXPECT_EQ(a.values()[0], 2.0f);
    EXPECT_EQ(b.values()[0], 3.0f);
}

}  // namespace

}  // namespace qstep::test

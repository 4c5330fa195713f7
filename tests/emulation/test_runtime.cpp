// Memory, copies, launches and captures on the emulation: what a GPU refuses is refused.
#include <cmath>
#include <cstdlib>
#include <functional>

#include "launch_test.h"

namespace qstep::test {

namespace {

__global__ void copy_kernel(float* out, const float* in, std::int64_t n) {
    const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    cuda::wait_for_predecessor();
    if (i < n) out[i] = in[i];
}

__global__ void count_kernel(int* counter) {
    cuda::wait_for_predecessor();
    if (threadIdx.x == 0) atomicAdd(counter, 1);
}

__global__ void shared_kernel(float* out) {
    cuda::wait_for_predecessor();
    if (threadIdx.x == 0) out[0] = cuda::dynamic_shared<float>()[0];
}

class EmulatedRuntime : public EmulationTest {
  protected:
    void count(int* counter) { cuda::launch(context_, "count", count_kernel, {3, 32}, counter); }
    int* zero_counter() {
        int* counter = allocate<int>(1);
        backend_.fill_zero(context_, counter, sizeof(int));
        return counter;
    }
    std::string capture_error(const std::function<void(Context&)>& step) {
        return message_of([&] { backend_.capture(context_, step); });
    }
};
using EmulatedRuntimeDeath = EmulatedRuntime;

TEST_F(EmulatedRuntime, FreshMemoryIsNan) {
    const std::vector<float> values = download(allocate<float>(1000), 1000);
    for (const float value : values) EXPECT_TRUE(std::isnan(value));
    auto* out = allocate<float>(1);
    cuda::launch(context_, "shared", shared_kernel, {1, 64, 64 * sizeof(float)}, out);
    EXPECT_TRUE(std::isnan(download(out, 1)[0]));
}

TEST_F(EmulatedRuntime, CopiesLargerThanTheStagingBlocks) {
    std::vector<float> values((9 << 20) / sizeof(float) + 3);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1001);
    const auto n = static_cast<std::int64_t>(values.size());
    const float* in = upload(values);
    auto* out = allocate<float>(n);
    cuda::launch(context_, "copy", copy_kernel, {(n + 1023) / 1024, 1024}, out, in, n);
    EXPECT_EQ(download(out, n), values);
}

TEST_F(EmulatedRuntimeDeath, HostCodeCannotReachDeviceMemory) {
    const float* device = upload(std::vector<float>{1.0f});
    EXPECT_DEATH(static_cast<void>(*static_cast<const volatile float*>(device)),
                 "host code touched device memory");
}

TEST_F(EmulatedRuntimeDeath, NothingLiesBehindTheEnd) {
    const float* in = upload(std::vector<float>(64, 1.0f));
    EXPECT_DEATH(cuda::launch(context_, "copy", copy_kernel, {1, 96}, allocate<float>(96), in, 96),
                 "access behind the end of device memory");
}

TEST_F(EmulatedRuntime, PointersToHostMemoryAreRefused) {
    float host = 0.0f;
    EXPECT_NE(message_of([&] {
                  cuda::launch(context_, "copy", copy_kernel, {1, 32}, allocate<float>(1), &host, 1);
              }).find("not the device's"),
              std::string::npos);
    EXPECT_NE(message_of([&] { backend_.copy_in(context_, &host, &host, sizeof host); }).find("InvalidValue"),
              std::string::npos);
}

TEST_F(EmulatedRuntime, LaunchErrorsNameKernelAndShape) {
    const std::string message = message_of([&] {
        cuda::launch(context_, "too_much", shared_kernel, {7, 64, std::size_t{1} << 20}, allocate<float>(1));
    });
    for (const char* part : {"too_much", "7 blocks", "64 threads", "1048576 bytes"})
        EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(EmulatedRuntime, SharedMemoryAbove48KibIsAllowed) {
    auto* out = allocate<float>(1);
    cuda::launch(context_, "shared", shared_kernel, {1, 32, 200 << 10}, out);
    EXPECT_TRUE(std::isnan(download(out, 1)[0]));
}

TEST_F(EmulatedRuntime, ACapturedStepRunsOnlyWhenLaunched) {
    int* counter = zero_counter();
    int recorded = 0;
    const auto step = backend_.capture(context_, [&](Context&) {
        count(counter);
        count(counter);
        ++recorded;
    });
    EXPECT_EQ(download(counter, 1)[0], 2 * 3) << "once before it is recorded";
    step->launch(5);
    EXPECT_EQ(download(counter, 1)[0], 6 * 2 * 3);
    EXPECT_EQ(recorded, 2);
}

TEST_F(EmulatedRuntime, AnEagerStepRunsTheFunctionEachTime) {
    context_.set_eager(true);
    int* counter = zero_counter();
    int calls = 0;
    const auto step = backend_.capture(context_, [&](Context&) {
        count(counter);
        ++calls;
    });
    step->launch(5);
    EXPECT_EQ(download(counter, 1)[0], 5 * 3);
    EXPECT_EQ(calls, 5);
}

TEST_F(EmulatedRuntime, AStreamThatWaitsForACaptureJoinsIt) {
    int* counter = zero_counter();
    Context side({DeviceKind::cuda, 0}, 1);
    const auto in_side = [&] { cuda::launch(side, "count", count_kernel, {3, 32}, counter); };
    cudaEvent_t forked = nullptr;
    ASSERT_EQ(cudaEventCreate(&forked), cudaSuccess);
    const auto step = backend_.capture(context_, [&](Context& context) {
        cudaEventRecord(forked, cuda::stream_of(context));
        cudaStreamWaitEvent(cuda::stream_of(side), forked);
        in_side();
    });
    EXPECT_EQ(download(counter, 1)[0], 3);
    step->launch(2);
    EXPECT_EQ(download(counter, 1)[0], 3 * 3);
    in_side();
    EXPECT_EQ(download(counter, 1)[0], 4 * 3) << "the stream runs by itself again";
    cudaEventDestroy(forked);
}

TEST_F(EmulatedRuntime, WhatACapturedStepMustNotDo) {
    int* counter = zero_counter();
    int host = 0;
    EXPECT_NE(capture_error([&](Context&) { allocate<float>(1); }).find("StreamCapture"), std::string::npos);
    EXPECT_NE(capture_error([&](Context& c) { backend_.synchronize(c); }).find("waits for the device"),
              std::string::npos);
    EXPECT_NE(capture_error([&](Context& c) { backend_.copy_out(c, &host, counter, 4); }).find("to the host"),
              std::string::npos);
    EXPECT_NE(
        capture_error([&](Context& c) { backend_.copy_in(c, counter, &host, 4); }).find("from the host"),
        std::string::npos);
    EXPECT_NE(capture_error([&](Context&) {
                  cudaMemcpy(&host, counter, 4, cudaMemcpyDeviceToHost);
              }).find("Invalidated"),
              std::string::npos);
    const auto step = backend_.capture(context_, [&](Context&) { count(counter); });
    step->launch(1);
    EXPECT_EQ(download(counter, 1)[0], 2 * 3) << "a capture works after one that failed";
}

TEST_F(EmulatedRuntime, OutOfMemorySaysWhatWasAskedWhatIsFreeAndWhatNeedsLess) {
    constexpr std::size_t kMebibyte = std::size_t{1} << 20;
    const auto ends_with = [](const std::string& message, const std::string& end) {
        EXPECT_TRUE(message.ends_with("no room for 200.0 MiB: 100.0 of its 100.0 MiB are free" + end))
            << message;
    };
    setenv("QSTEP_EMULATED_MEMORY_MIB", "100", 1);
    ends_with(message_of([&] { backend_.allocate(200 * kMebibyte); }), "");

    Arena arena(context_.device(), "test arena", "fewer --things need less");
    arena.allocate_bytes(200 * kMebibyte);
    ends_with(message_of([&] { arena.commit(); }), "; fewer --things need less");

    Workspace workspace(context_.device());
    workspace.reserve(150 * kMebibyte, "a smaller --first needs less");
    workspace.reserve(200 * kMebibyte, "a smaller --second needs less");
    workspace.reserve(150 * kMebibyte, "a smaller --third needs less");
    workspace.set_usual_remedy("a smaller --fourth needs less");
    ends_with(message_of([&] { workspace.freeze(); }), "; a smaller --second needs less");

    Workspace usual(context_.device());
    usual.set_usual_remedy("a smaller --fourth needs less");
    usual.reserve(200 * kMebibyte);
    ends_with(message_of([&] { usual.freeze(); }), "; a smaller --fourth needs less");
    unsetenv("QSTEP_EMULATED_MEMORY_MIB");
}

TEST_F(EmulatedRuntime, ADeviceThatIsNotThere) {
    EXPECT_NE(message_of([] {
                  backend({DeviceKind::cuda, 1});
              }).find("this machine has 1 GPU, counted"),
              std::string::npos);
    EXPECT_EQ(backend_.description(), "Emulated GPU, compute capability 9.0, 8.0 GiB");
}

}  // namespace

}  // namespace qstep::test

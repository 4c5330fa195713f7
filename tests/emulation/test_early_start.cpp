// Kernels that may start before the one before them has ended: whoever forgets to wait for it is told so.
#include <cstdlib>
#include <utility>

#include "launch_test.h"

namespace qstep::test {

namespace {

// A template, because it is settled once a kernel whether it starts early.
template <int kTest>
__global__ void hasty_kernel(int* out) {
    if (threadIdx.x == 1000) *out = kTest;
}

__global__ void half_waiting_kernel(int* out) {
    if (threadIdx.x >= 48) return;
    cuda::wait_for_predecessor();
    if (threadIdx.x == 0) *out = 1;
}

__global__ void last_block_hasty_kernel(int* out) {
    if (blockIdx.x == gridDim.x - 1) return;
    cuda::wait_for_predecessor();
    if (blockIdx.x == 0 && threadIdx.x == 0) *out = 1;
}

__global__ void early_load_kernel(int* out, const int* in) {
    const int value = *in;
    cuda::wait_for_predecessor();
    *out = value;
}

class EarlyStart : public EmulationTest {
  protected:
    void TearDown() override {
        unsetenv("QSTEP_PROGRAMMATIC_LAUNCH");
        unsetenv("QSTEP_EMULATED_PTX");
    }
    template <class... P, class... A>
    std::string error_of(void (*kernel)(P...), int blocks, A... arguments) {
        return message_of([&] { cuda::launch(context_, "forgetful", kernel, {blocks, 64}, arguments...); });
    }
};
using EarlyStartDeath = EarlyStart;

TEST_F(EarlyStart, AKernelThatNeverWaitsIsNamed) {
    const std::string message = error_of(hasty_kernel<0>, 2, allocate<int>(1));
    EXPECT_NE(message.find("forgetful, block 0: 64 of 64 threads ended without wait_for_predecessor()"),
              std::string::npos)
        << message;
}

TEST_F(EarlyStart, EveryThreadWaits) {
    const std::string message = error_of(half_waiting_kernel, 1, allocate<int>(1));
    EXPECT_NE(message.find("16 of 64 threads ended without"), std::string::npos) << message;
}

TEST_F(EarlyStart, EveryBlockWaits) {
    const std::string message = error_of(last_block_hasty_kernel, 3, allocate<int>(1));
    EXPECT_NE(message.find("block 2: 64 of 64 threads ended without"), std::string::npos) << message;
}

TEST_F(EarlyStart, AGraphTellsToo) {
    bool recording = false;  // the first run is that before the recording
    int* out = allocate<int>(1);
    const auto step = backend_.capture(context_, [&](Context& context) {
        if (std::exchange(recording, true)) cuda::launch(context, "forgetful", hasty_kernel<1>, {1, 64}, out);
    });
    const std::string message = message_of([&] { step->launch(1); });
    EXPECT_NE(message.find("forgetful, block 0: 64 of 64"), std::string::npos) << message;
}

TEST_F(EarlyStartDeath, DeviceMemoryIsOutOfReachBeforeTheWait) {
    const int* in = upload(std::vector<int>{7});
    int* out = allocate<int>(1);
    EXPECT_DEATH(error_of(early_load_kernel, 1, out, in),
                 "forgetful touched device memory before wait_for_predecessor()");
}

TEST_F(EarlyStart, WithoutItThereIsNothingToWaitFor) {
    setenv("QSTEP_PROGRAMMATIC_LAUNCH", "0", 1);
    EXPECT_EQ(error_of(hasty_kernel<2>, 2, allocate<int>(1)), "no error");
    unsetenv("QSTEP_PROGRAMMATIC_LAUNCH");
    EXPECT_NE(error_of(hasty_kernel<3>, 2, allocate<int>(1)), "no error");
}

TEST_F(EarlyStart, CodeForAnOlderArchitectureCannotWait) {
    setenv("QSTEP_EMULATED_PTX", "80", 1);
    EXPECT_EQ(error_of(hasty_kernel<4>, 2, allocate<int>(1)), "no error");
}

}  // namespace

}  // namespace qstep::test

// Machines that lack something, emulated: no driver, an old one, no GPU; and one with two GPUs. A program of
// its own, since the devices of a machine are counted once a process.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "engine/backend.h"
#include "engine/context.h"
#include "engine/error.h"

namespace qstep::test {

namespace {

std::string cuda_error(int index = 0) {
    try {
        backend({DeviceKind::cuda, index});
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::run);
        return error.what();
    }
    return "no error";
}

class EmulatedMachine : public testing::Test {
  protected:
    void TearDown() override {
        unsetenv("QSTEP_EMULATED_DRIVER");
        unsetenv("QSTEP_EMULATED_GPUS");
    }
};

TEST_F(EmulatedMachine, WithoutADriver) {
    setenv("QSTEP_EMULATED_DRIVER", "0", 1);
    EXPECT_EQ(device_count(DeviceKind::cuda), 0);
    EXPECT_EQ(to_string(parse_device("auto")), "cpu");
    EXPECT_EQ(cuda_error(), "this machine has no NVIDIA driver; use --device cpu");
}

TEST_F(EmulatedMachine, WithADriverOlderThanTheRuntime) {
    setenv("QSTEP_EMULATED_DRIVER", "12040", 1);
    EXPECT_EQ(device_count(DeviceKind::cuda), 0);
    EXPECT_EQ(
        cuda_error(),
        "the NVIDIA driver is made for CUDA 12.4, this program for CUDA 13.0: install a newer driver, or "
        "use --device cpu");
}

TEST_F(EmulatedMachine, WithoutAGpu) {
    setenv("QSTEP_EMULATED_GPUS", "0", 1);
    EXPECT_EQ(device_count(DeviceKind::cuda), 0);
    EXPECT_EQ(cuda_error(), "this machine has no NVIDIA GPU that CUDA can see; use --device cpu");
}

TEST_F(EmulatedMachine, WithTwoGpus) {
    setenv("QSTEP_EMULATED_GPUS", "2", 1);
    EXPECT_EQ(device_count(DeviceKind::cuda), 2);
    EXPECT_EQ(to_string(parse_device("auto")), "cuda:0");
    EXPECT_EQ(cuda_error(2), "there is no cuda:2: this machine has 2 GPUs, counted from cuda:0");
    Context context({DeviceKind::cuda, 1});
    Backend& second = backend(context.device());
    void* memory = second.allocate(4);
    const int value = 7;
    int result = 0;
    second.copy_in(context, memory, &value, sizeof value);
    second.copy_out(context, &result, memory, sizeof result);
    second.release(memory);
    EXPECT_EQ(result, value);
}

}  // namespace

}  // namespace qstep::test

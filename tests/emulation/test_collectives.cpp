// Barriers and warp collectives on the emulation: what is right runs in every order of threads, and what
// would hang or be undefined on a GPU is reported.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <utility>

#include "kernels/cuda/device/async_copy.cuh"
#include "launch_test.h"

namespace qstep::test {

namespace {

constexpr unsigned kAll = 0xffffffffu;

__global__ void sum_kernel(double* out, const float* in, std::int64_t n) {
    QSTEP_SHARED double partial[32];
    double sum = 0.0;
    cuda::wait_for_predecessor();
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += in[i];
    for (int delta = 16; delta > 0; delta /= 2) sum += __shfl_down_sync(kAll, sum, delta);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0.0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += partial[warp];
    *out = sum;
}

__global__ void shuffle_kernel(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    cuda::wait_for_predecessor();
    out[lane] = __shfl_xor_sync(kAll, lane, 5);
    out[32 + lane] = __shfl_sync(kAll, lane, 7);
    out[64 + lane] = __shfl_up_sync(kAll, lane, 3);
    out[96 + lane] = static_cast<int>(__ballot_sync(kAll, lane % 3 == 0));
    out[128 + lane] = __syncthreads_count(lane < 10);
}

__global__ void neighbour_kernel(int* out, bool with_barrier) {
    int* tile = cuda::dynamic_shared<int>();
    tile[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (with_barrier) __syncthreads();
    cuda::wait_for_predecessor();
    out[threadIdx.x] = tile[(threadIdx.x + 1) % blockDim.x];
}

__global__ void half_a_barrier_kernel() {
    if (threadIdx.x < 16) __syncthreads();
}

__global__ void two_barriers_kernel() {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void diverged_shuffle_kernel(int* out) {
    if (threadIdx.x % 2 == 0)
        *out = __shfl_sync(kAll, 1, 0);
    else
        *out = __shfl_sync(kAll, 2, 0);
}

__global__ void partial_mask_kernel() {
    __syncwarp(0xffffu);
}

class EmulatedCollectives : public EmulationTest {
  protected:
    void SetUp() override { unsetenv("QSTEP_EMULATED_ORDER"); }
    void TearDown() override { unsetenv("QSTEP_EMULATED_ORDER"); }
    static void run_in_order(const char* order) { setenv("QSTEP_EMULATED_ORDER", order, 1); }
    template <class... P, class... A>
    std::string misuse_of(void (*kernel)(P...), int threads, A... arguments) {
        return message_of([&] { cuda::launch(context_, "misused", kernel, {2, threads}, arguments...); });
    }
};

TEST_F(EmulatedCollectives, ReductionOverABlockInEveryOrder) {
    constexpr std::int64_t kCount = 1003;
    std::vector<float> values(kCount);
    std::iota(values.begin(), values.end(), 1.0f);
    const float* in = upload(values);
    auto* out = allocate<double>(1);
    for (const char* order : {"forward", "reverse", "shuffled"}) {
        run_in_order(order);
        cuda::launch(context_, "sum", sum_kernel, {1, 256}, out, in, kCount);
        EXPECT_EQ(download(out, 1)[0], kCount * (kCount + 1) / 2) << order;
    }
}

TEST_F(EmulatedCollectives, ShufflesAndVotes) {
    auto* out = allocate<int>(160);
    cuda::launch(context_, "shuffle", shuffle_kernel, {1, 32}, out);
    const std::vector<int> got = download(out, 160);
    for (int lane = 0; lane < 32; ++lane) {
        const auto at = [&](int row) { return got[static_cast<std::size_t>(32 * row + lane)]; };
        EXPECT_EQ(at(0), lane ^ 5);
        EXPECT_EQ(at(1), 7);
        EXPECT_EQ(at(2), lane < 3 ? lane : lane - 3);
        EXPECT_EQ(static_cast<unsigned>(at(3)), 0x49249249u);
        EXPECT_EQ(at(4), 10);
    }
}

TEST_F(EmulatedCollectives, AMissingBarrierShowsInSomeOrder) {
    constexpr int kThreads = 64;
    auto* out = allocate<int>(kThreads);
    const auto right = [&](bool with_barrier, const char* order) {
        run_in_order(order);
        if (message_of([&] {
                cuda::launch(context_, "neighbour", neighbour_kernel, {1, kThreads, kThreads * sizeof(int)},
                             out, with_barrier);
            }) != "no error")
            return false;  // where races are looked for
        const std::vector<int> got = download(out, kThreads);
        for (int i = 0; i < kThreads; ++i)
            if (got[static_cast<std::size_t>(i)] != (i + 1) % kThreads) return false;
        return true;
    };
    for (const char* order : {"forward", "reverse", "shuffled"}) EXPECT_TRUE(right(true, order)) << order;
    EXPECT_FALSE(right(false, "forward"));
}

TEST_F(EmulatedCollectives, ABarrierThatSomeThreadsMissIsReported) {
    const std::string message = misuse_of(half_a_barrier_kernel, 64);
    EXPECT_NE(
        message.find("misused, block 0: 16 of 64 threads wait in __syncthreads at test_collectives.cpp:"),
        std::string::npos)
        << message;
    EXPECT_NE(message.find("48 have ended"), std::string::npos) << message;
}

TEST_F(EmulatedCollectives, DifferentBarriersAreReported) {
    EXPECT_NE(misuse_of(two_barriers_kernel, 32).find("while others wait in __syncthreads at"),
              std::string::npos);
}

TEST_F(EmulatedCollectives, DivergedShufflesAreReported) {
    const std::string message = misuse_of(diverged_shuffle_kernel, 32, allocate<int>(1));
    EXPECT_NE(message.find("others of its warp wait in __shfl_sync"), std::string::npos) << message;
}

TEST_F(EmulatedCollectives, PartialWarpsAreReported) {
    EXPECT_NE(misuse_of(partial_mask_kernel, 32).find("only whole warps"), std::string::npos);
    EXPECT_NE(misuse_of(shuffle_kernel, 33, allocate<int>(160)).find("no multiple of 32"), std::string::npos);
}

TEST_F(EmulatedCollectives, MisuseInAGraphNamesTheKernel) {
    bool recording = false;  // the first run is that before the recording
    const auto step = backend_.capture(context_, [&](Context& context) {
        if (std::exchange(recording, true)) cuda::launch(context, "misused", half_a_barrier_kernel, {1, 32});
    });
    const std::string message = message_of([&] { step->launch(1); });
    EXPECT_NE(message.find("misused, block 0"), std::string::npos) << message;
    EXPECT_NE(message.find("--no-graph"), std::string::npos) << message;
}

TEST_F(EmulatedCollectives, AKernelRunsAfterAMisusedOne) {
    misuse_of(half_a_barrier_kernel, 1024);
    auto* out = allocate<int>(160);
    cuda::launch(context_, "shuffle", shuffle_kernel, {1, 32}, out);
    EXPECT_EQ(download(out, 160)[0], 5);
}

// Each thread copies two vectors, in a group each, and waits for all groups but kPending.
template <int kPending>
__global__ void copy_kernel(float* out, const float* in) {
    QSTEP_SHARED float4 place[2][32];
    const unsigned thread = threadIdx.x;
    cuda::wait_for_predecessor();
    for (unsigned group = 0; group < 2; ++group) {
        cuda::copy_16_bytes_async(&place[group][thread], in + 4 * thread, group == 0 || thread % 2 == 0);
        cuda::end_copy_group();
    }
    cuda::wait_for_copies<kPending>();
    for (unsigned group = 0; group < 2; ++group) out[2 * thread + group] = place[group][thread].w;
}

TEST_F(EmulatedCollectives, AsynchronousCopiesComeWithTheirWait) {
    std::vector<float> values(128);
    std::iota(values.begin(), values.end(), 0.0f);
    const float* in = upload(values);
    auto* out = allocate<float>(64);
    for (const char* order : {"forward", "reverse"}) {
        run_in_order(order);
        cuda::launch(context_, "copies", copy_kernel<0>, {1, 32}, out, in);
        const std::vector<float> all = download(out, 64);
        cuda::launch(context_, "copies", copy_kernel<1>, {1, 32}, out, in);
        const std::vector<float> first = download(out, 64);
        for (std::size_t thread = 0; thread < 32; ++thread) {
            const float value = values[4 * thread + 3], second = thread % 2 == 0 ? value : 0.0f;
            EXPECT_EQ(all[2 * thread], value);
            EXPECT_EQ(all[2 * thread + 1], second);
            EXPECT_EQ(first[2 * thread], value);
            // What was not waited for may be there or not, which is forward and the other orders here.
            if (order == std::string_view("forward"))
                EXPECT_EQ(first[2 * thread + 1], second);
            else
                EXPECT_TRUE(std::isnan(first[2 * thread + 1]));
        }
    }
}

}  // namespace

}  // namespace qstep::test

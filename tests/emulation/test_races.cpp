// What a build that looks for races reports: each kernel here has one that can be switched off.
#include "kernels/cuda/device/reduce.cuh"
#include "launch_test.h"

namespace qstep::test {

namespace {

constexpr int kThreads = 64;
const std::string kSilent = "no error";

__global__ void neighbour_kernel(int* out, bool with_barrier) {
    cuda::wait_for_predecessor();
    QSTEP_SHARED int tile[kThreads];
    tile[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (with_barrier) __syncthreads();
    out[blockIdx.x * kThreads + threadIdx.x] = tile[(threadIdx.x + 1) % kThreads];
}

/// Without the second barrier a thread may overwrite what another has yet to read.
__global__ void rounds_kernel(int* out, bool with_barrier) {
    cuda::wait_for_predecessor();
    int* tile = cuda::dynamic_shared<int>();
    int sum = 0;
    for (int round = 0; round < 2; ++round) {
        tile[threadIdx.x] = round;
        __syncthreads();
        sum += tile[kThreads - 1 - threadIdx.x];
        if (with_barrier) __syncthreads();
    }
    out[blockIdx.x * kThreads + threadIdx.x] = sum;
}

enum class InWarp { barrier, shuffle, nothing };

__global__ void lanes_kernel(int* out, InWarp between, int distance) {
    cuda::wait_for_predecessor();
    QSTEP_SHARED int tile[kThreads];
    tile[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (between == InWarp::barrier) __syncwarp();
    if (between == InWarp::shuffle) __shfl_sync(cuda::kAllLanes, 1, 0);
    out[blockIdx.x * kThreads + threadIdx.x] = tile[threadIdx.x ^ static_cast<unsigned>(distance)];
}

__global__ void one_word_kernel(int* word, bool atomically) {
    cuda::wait_for_predecessor();
    if (threadIdx.x != 0) return;
    if (atomically)
        atomicAdd(word, 1);
    else
        *word = static_cast<int>(blockIdx.x);
}

__global__ void histogram_kernel(int* out, bool with_barrier) {
    cuda::wait_for_predecessor();
    QSTEP_SHARED int counts[2];
    if (threadIdx.x < 2) counts[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(counts + threadIdx.x % 2, 1);
    if (with_barrier) __syncthreads();
    if (threadIdx.x < 2) out[threadIdx.x] = counts[threadIdx.x];
}

/// Each thread has bytes of its own; with `overlap` the first of the next thread's too.
__global__ void bytes_kernel(std::uint8_t* bytes, std::uint16_t* pairs, int overlap) {
    cuda::wait_for_predecessor();
    for (int i = 0; i < 3 + overlap; ++i) bytes[3 * threadIdx.x + static_cast<unsigned>(i)] = 1;
    pairs[threadIdx.x] = 1;
}

/// Blocks leave a number each, the last one to count itself reads them all.
struct Fences {
    bool behind_writing, before_reading;
    /// The fences are those of the counting thread, behind a barrier, or each thread's, before it.
    bool of_one_thread;
};
__global__ void hand_over_kernel(int* numbers, int* arrived, int* out, Fences fences) {
    cuda::wait_for_predecessor();
    QSTEP_SHARED bool is_last;
    numbers[blockIdx.x * blockDim.x + threadIdx.x] = 1;
    if (fences.behind_writing && !fences.of_one_thread) __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        if (fences.behind_writing && fences.of_one_thread) __threadfence();
        is_last = atomicAdd(arrived, 1) == static_cast<int>(gridDim.x) - 1;
        if (fences.before_reading && fences.of_one_thread) __threadfence();
    }
    __syncthreads();
    if (!is_last) return;
    if (fences.before_reading && !fences.of_one_thread) __threadfence();
    int sum = 0;
    for (unsigned block = 0; block < gridDim.x; ++block)
        sum += numbers[block * blockDim.x + (threadIdx.x + 1) % blockDim.x];
    out[threadIdx.x] = sum;
}

/// Waits for others in a way that this project has: see last_to_arrive.
__global__ void grid_sum_kernel(double* parts, int* arrived, double* out) {
    cuda::wait_for_predecessor();
    const double sum = cuda::block_sum<kThreads>(1.0);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
    if (!cuda::last_to_arrive(arrived, static_cast<int>(gridDim.x))) return;
    double total = 0;
    for (unsigned block = 0; block < gridDim.x; ++block) total += parts[block];
    if (threadIdx.x == 0) *out = total;
}

class Races : public EmulationTest {
  protected:
    template <class... P, class... A>
    std::string race_of(void (*kernel)(P...), int blocks, A... arguments) {
        return message_of([&] {
            cuda::launch(context_, "racer", kernel, {blocks, kThreads, kThreads * sizeof(int)}, arguments...);
        });
    }
    static void expect_race(const std::string& message, const char* memory, const char* earlier,
                            const char* later) {
        for (const std::string& part :
             {std::string("racer, block "), fmt::format("a race on {} memory", memory),
              fmt::format(" {} it at test_races.cpp:", earlier),
              fmt::format(" {} it at test_races.cpp:", later)})
            EXPECT_NE(message.find(part), std::string::npos) << part << " is not in:\n" << message;
    }
    int* zeros(std::int64_t count) { return upload(std::vector<int>(static_cast<std::size_t>(count), 0)); }
    int* out_ = allocate<int>(4 * kThreads);
};

TEST_F(Races, AMissingBlockBarrier) {
    expect_race(race_of(neighbour_kernel, 1, out_, false), "shared", "writes", "reads");
    EXPECT_EQ(race_of(neighbour_kernel, 4, out_, true), kSilent) << "each block has shared memory of its own";
}

TEST_F(Races, AMissingBarrierBeforeMemoryIsUsedAgain) {
    expect_race(race_of(rounds_kernel, 1, out_, false), "shared", "reads", "writes");
    EXPECT_EQ(race_of(rounds_kernel, 2, out_, true), kSilent);
}

TEST_F(Races, AMissingWarpBarrier) {
    expect_race(race_of(lanes_kernel, 1, out_, InWarp::nothing, 1), "shared", "writes", "reads");
    EXPECT_EQ(race_of(lanes_kernel, 2, out_, InWarp::barrier, 1), kSilent);
}

TEST_F(Races, AShuffleOrdersNoMemory) {
    expect_race(race_of(lanes_kernel, 1, out_, InWarp::shuffle, 1), "shared", "writes", "reads");
}

TEST_F(Races, AWarpBarrierDoesNotReachOtherWarps) {
    expect_race(race_of(lanes_kernel, 1, out_, InWarp::barrier, 32), "shared", "writes", "reads");
}

TEST_F(Races, BlocksThatWriteOneWord) {
    int* word = zeros(1);
    expect_race(race_of(one_word_kernel, 2, word, false), "device", "writes", "writes");
    EXPECT_EQ(race_of(one_word_kernel, 1, word, false), kSilent);
    EXPECT_EQ(race_of(one_word_kernel, 1, word, false), kSilent) << "launches come one after the other";
    EXPECT_EQ(race_of(one_word_kernel, 3, word, true), kSilent);
}

TEST_F(Races, AtomicsAndPlainAccesses) {
    expect_race(race_of(histogram_kernel, 1, out_, false), "shared", "has an atomic operation on", "reads");
    EXPECT_EQ(race_of(histogram_kernel, 1, out_, true), kSilent);
}

TEST_F(Races, NeighboursInOneWord) {
    auto* bytes = allocate<std::uint8_t>(4 * kThreads);
    auto* pairs = allocate<std::uint16_t>(kThreads);
    EXPECT_EQ(race_of(bytes_kernel, 1, bytes, pairs, 0), kSilent);
    expect_race(race_of(bytes_kernel, 1, bytes, pairs, 1), "device", "writes", "writes");
}

TEST_F(Races, BetweenBlocksFencesOnBothSidesOfAnAtomicAreNeeded) {
    for (const bool of_one_thread : {false, true}) {
        const auto race = [&](bool first, bool second) {
            return race_of(hand_over_kernel, 4, zeros(4 * kThreads), zeros(1), out_,
                           Fences{first, second, of_one_thread});
        };
        EXPECT_EQ(race(true, true), kSilent) << of_one_thread;
        expect_race(race(true, false), "device", "writes", "reads");
        expect_race(race(false, true), "device", "writes", "reads");
    }
}

TEST_F(Races, SumsOverTheGrid) {
    auto* out = allocate<double>(1);
    int* arrived = zeros(1);
    for (int run = 0; run < 2; ++run) {
        EXPECT_EQ(race_of(grid_sum_kernel, 5, allocate<double>(5), arrived, out), kSilent);
        EXPECT_EQ(download(out, 1)[0], 5.0 * kThreads);
    }
}

TEST_F(Races, AKernelRunsAfterOneWithARace) {
    EXPECT_NE(race_of(neighbour_kernel, 1, out_, false), kSilent);
    EXPECT_EQ(race_of(neighbour_kernel, 1, out_, true), kSilent);
    EXPECT_EQ(download(out_, 1)[0], 1);
}

}  // namespace

}  // namespace qstep::test

// BlockGroup keeps the promise of quant/group.h: its operations wait at both ends, so what other threads
// wrote before is seen, and what they read may be overwritten behind. Results alone hardly show it where
// threads run in step; builds that look for races (tests/emulation/races.h) do.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "engine/backend.h"
#include "engine/context.h"
#include "engine/random.h"
#include "quant/cuda/block_group.cuh"

namespace qstep::test {
namespace {

using quant::cuda::BlockGroup;

constexpr int kThreads = 64;
/// So many that a sum in turn has two rounds, and a power of two.
constexpr int kCount = 512;
constexpr int kKinds = 8;
constexpr std::size_t kSharedBytes = kCount * sizeof(float) + (2 * kCount + 2 * kKinds) * sizeof(unsigned);

struct Found {
    double low, high, sum, few, drawn, doubled, in_turn, constant, alternating, in_order, kinds;
};

/// One Found a round, in which x[i] = round + i at first.
__global__ void operations_kernel(Found* found, int rounds) {
    QSTEP_SHARED BlockGroup::Storage storage;
    BlockGroup group(storage);
    auto* x = qstep::cuda::dynamic_shared<float>();
    auto* keys = reinterpret_cast<std::uint32_t*>(x + kCount);
    auto* counts = keys + 2 * kCount;
    const quant::Draws draws{{1, Purpose::rounding, 0}, 0, false};
    qstep::cuda::wait_for_predecessor();
    for (int round = 0; round < rounds; ++round) {
        // By other threads than those that go over x in turn.
        const auto fill = [&] {
            group.for_each(kCount, [=](std::int64_t i) {
                x[kCount - 1 - i] = static_cast<float>(round + kCount - 1 - i);
            });
        };
        Found of{};
        fill();
        const quant::Extent extent = group.extent(kCount, [=](std::int64_t i) { return x[i]; });
        of.low = static_cast<double>(extent.low);
        of.high = static_cast<double>(extent.high);
        fill();
        of.sum = group.sum(kCount, [=](std::int64_t i) { return x[i]; });
        fill();
        group.by_few([=](const auto& few) {
            few.for_each(kCount, [=](std::int64_t i) { x[i] += 1; });
            few.barrier();
            few.for_each(kCount / 2, [=](std::int64_t i) { x[i] += x[kCount - 1 - i]; });
        });
        of.few = static_cast<double>(x[group.size() - 1 - group.rank()]);
        fill();
        of.drawn = group.sum(kCount, draws, [=](std::int64_t i, std::uint32_t) {
            const float old = x[i];
            x[i] = 2 * old;
            return old;
        });
        of.doubled = group.sum(kCount, [=](std::int64_t i) { return x[kCount - 1 - i]; });
        fill();
        of.in_turn = group.sum_in_turn(kCount, [=](std::int64_t i) { return static_cast<double>(x[i]); });
        fill();
        group.walsh_hadamard(x, kCount, 1);
        of.constant = static_cast<double>(x[0]);
        of.alternating = static_cast<double>(x[1]);

        group.for_each(kCount, [=](std::int64_t i) {
            keys[kCount - 1 - i] = static_cast<std::uint32_t>((37 * i + round) % kCount);
        });
        group.sort(keys, keys + kCount, kCount);
        of.in_order = group.sum(
            kCount, [=](std::int64_t i) { return keys[i] == static_cast<std::uint32_t>(i) ? 1.0 : 0.0; });
        group.for_each(kKinds, [=](std::int64_t i) { counts[kKinds - 1 - i] = 99; });
        group.count(counts, kKinds, kCount, [=](std::int64_t i) { return keys[kCount - 1 - i] % kKinds; });
        for (int kind = 0; kind < kKinds; ++kind) of.kinds += counts[kind] == kCount / kKinds ? 1 : 0;
        if (group.rank() == 0) found[round] = of;
    }
}

TEST(BlockGroup, OperationsWaitAtBothEnds) {
    const Device gpu{DeviceKind::cuda, 0};
    if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    constexpr int kRounds = 2;
    Context context(gpu);
    Backend& device = backend(gpu);
    Found found[kRounds];
    auto* on_device = static_cast<Found*>(device.allocate(sizeof found));
    qstep::cuda::launch(context, "operations", operations_kernel, {1, kThreads, kSharedBytes}, on_device,
                        kRounds);
    device.copy_out(context, found, on_device, sizeof found);
    device.release(on_device);
    for (int round = 0; round < kRounds; ++round) {
        SCOPED_TRACE(round);
        const double sum = kCount * round + kCount * (kCount - 1) / 2;
        EXPECT_EQ(found[round].low, round);
        EXPECT_EQ(found[round].high, round + kCount - 1);
        EXPECT_EQ(found[round].sum, sum);
        // Thread 0's, of what the last thread's element and its mirror image came to.
        EXPECT_EQ(found[round].few, 2 * round + kCount + 1);
        EXPECT_EQ(found[round].drawn, sum);
        EXPECT_EQ(found[round].doubled, 2 * sum);
        EXPECT_EQ(found[round].in_turn, sum);
        EXPECT_EQ(found[round].constant, sum);
        EXPECT_EQ(found[round].alternating, -kCount / 2);
        EXPECT_EQ(found[round].in_order, kCount);
        EXPECT_EQ(found[round].kinds, kKinds);
    }
}

__global__ void sort_kernel(std::uint32_t* keys, std::int64_t n) {
    QSTEP_SHARED BlockGroup::Storage storage;
    qstep::cuda::wait_for_predecessor();
    BlockGroup(storage).sort(keys, keys + n, n);
}

// A warp sorts 128 keys by itself; runs of them are merged.
TEST(BlockGroup, SortsAnyNumberOfKeys) {
    const Device gpu{DeviceKind::cuda, 0};
    if (device_count(DeviceKind::cuda) == 0) GTEST_SKIP() << "no CUDA device";
    Context context(gpu);
    Backend& device = backend(gpu);
    const RandomStream stream{30, Purpose::synthetic_data, 0};
    for (const std::int64_t n : {1, 2, 5, 127, 128, 129, 255, 256, 257, 384, 500, 513, 1025, 2700})
        for (const std::uint32_t bound : {3u, ~0u})
            for (const int threads : {32, 96, 128}) {
                SCOPED_TRACE(testing::Message() << n << " keys, " << threads << " threads");
                std::vector<std::uint32_t> keys(static_cast<std::size_t>(n)), sorted(keys.size());
                // The largest there is, like what stands for keys beyond the last, may be among them.
                for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = ~stream.below(i, bound);
                const std::size_t bytes = keys.size() * sizeof(std::uint32_t);
                auto* on_device = static_cast<std::uint32_t*>(device.allocate(bytes));
                device.copy_in(context, on_device, keys.data(), bytes);
                qstep::cuda::launch(context, "sort", sort_kernel, {1, threads, 0}, on_device, n);
                device.copy_out(context, sorted.data(), on_device, bytes);
                device.release(on_device);
                std::sort(keys.begin(), keys.end());
                ASSERT_EQ(sorted, keys);
            }
}

}  // namespace
}  // namespace qstep::test

// Sorting by a thread block: bitonic merges in which every exchange puts the smaller key first, so keys
// beyond n need not be there. Of 512 keys' 45 rounds of exchanges 42 happen within runs that a warp holds in
// registers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device/reduce.cuh"

namespace qstep::quant::cuda {

/// A run of keys in the registers of a warp, four neighbouring ones in each lane.
class KeyRun {
  public:
    static constexpr int kOfLane = 4, kKeys = kOfLane * qstep::cuda::kWarp;

    /// The run that begins at keys[first]; what would lie beyond n is larger than any key or as large.
    __device__ KeyRun(const std::uint32_t* keys, int first, int n, int lane) : lane_(lane) {
        for_each_key(first, [&](int k, int i) { key_[k] = i < n ? keys[i] : ~std::uint32_t{0}; });
    }
    __device__ void store(std::uint32_t* keys, int first, int n) const {
        for_each_key(first, [&](int k, int i) {
            if (i < n) keys[i] = key_[k];
        });
    }
    __device__ void sort() {
        exchange(0, 1), exchange(2, 3);
        exchange(0, 3), exchange(1, 2);
        exchange(0, 1), exchange(2, 3);
#pragma unroll
        for (int lanes = 2; lanes <= qstep::cuda::kWarp; lanes *= 2) {
            exchange_with<true>(lane_ ^ (lanes - 1));
            merge(lanes / 4);
        }
    }
    /// Exchanges keys that are kOfLane * lanes, and half of it, ... and 1 apart.
    __device__ void merge(int lanes) {
#pragma unroll
        for (; lanes > 0; lanes /= 2) exchange_with<false>(lane_ ^ lanes);
        exchange(0, 2), exchange(1, 3);
        exchange(0, 1), exchange(2, 3);
    }

  private:
    template <typename F>
    __device__ void for_each_key(int first, F f) const {
#pragma unroll
        for (int k = 0; k < kOfLane; ++k) f(k, first + lane_ * kOfLane + k);
    }
    __device__ void exchange(int low, int high) {
        const std::uint32_t a = key_[low], b = key_[high];
        key_[low] = std::min(a, b);
        key_[high] = std::max(a, b);
    }
    /// With the keys of another lane; mirrored: its last with the first.
    template <bool kMirrored>
    __device__ void exchange_with(int other) {
        std::uint32_t theirs[kOfLane];
#pragma unroll
        for (int k = 0; k < kOfLane; ++k)
            theirs[k] = __shfl_sync(qstep::cuda::kAllLanes, key_[kMirrored ? kOfLane - 1 - k : k], other);
#pragma unroll
        for (int k = 0; k < kOfLane; ++k)
            key_[k] = lane_ < other ? std::min(key_[k], theirs[k]) : std::max(key_[k], theirs[k]);
    }

    int lane_;
    std::uint32_t key_[kOfLane];
};

/// Puts keys[i], where i / apart is even, and keys[i ^ mask] in order.
__device__ inline void exchange_pairs(std::uint32_t* keys, int n, int apart, int mask, int rank, int size) {
    const int pairs = ((n + 2 * apart - 1) & (-2 * apart)) / 2;
    for (int at = rank; at < pairs; at += size) {
        const int i = (at & -apart) << 1 | (at & (apart - 1)), partner = i ^ mask;
        if (partner >= n) continue;
        const std::uint32_t a = keys[i], b = keys[partner];
        if (b < a) {
            keys[i] = b;
            keys[partner] = a;
        }
    }
}

/// Ascending, by all threads, whole warps of them; waits before and behind. n < 2^30.
__device__ inline void sort_keys(std::uint32_t* keys, int n, int rank, int size) {
    using qstep::cuda::kWarp;
    constexpr int kRun = KeyRun::kKeys;
    const int own = rank / kWarp * kRun, next = size / kWarp * kRun, lane = rank % kWarp;
    const auto in_runs = [&](auto work) {
        __syncthreads();
        for (int first = own; first < n; first += next) {
            KeyRun run(keys, first, n, lane);
            work(run);
            run.store(keys, first, n);
        }
        __syncthreads();
    };
    in_runs([](KeyRun& run) { run.sort(); });
    for (int half = kRun; half < n; half *= 2) {
        exchange_pairs(keys, n, half, 2 * half - 1, rank, size);
        for (int apart = half / 2; apart >= kRun; apart /= 2) {
            __syncthreads();
            exchange_pairs(keys, n, apart, apart, rank, size);
        }
        in_runs([](KeyRun& run) { run.merge(kWarp / 2); });
    }
}

}  // namespace qstep::quant::cuda

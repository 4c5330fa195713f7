// The per-channel end of batch normalisation: from partial moments of blocks of rows to statistics, and from
// statistics and sums to the coefficients of the elementwise passes. Shared by batch_norm.cpp and by
// convolutions that take the moments in their epilogue. Everything per channel is computed in double, in a
// fixed order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/batch_norm.h"

namespace qstep::cpu {

/// Moments of `blocks` disjoint blocks of rows (a thread's share, say), about one shift per block and
/// channel:
///   count[b] rows;  sum[b,c] = sum_r (y[r,c] - shift[b,c]);  square_sum[b,c] = sum_r (y[r,c] - shift[b,c])^2
/// The shift keeps the squares small where the mean is large against the deviation: any value within a few
/// deviations of the block's mean does, such as the block's first row or the mean of its first tile (a shift
/// k deviations off costs a relative error of k^2 roundings in the variance). Blocks with count 0 are
/// ignored.
struct MomentPartials {
    std::int64_t blocks = 0, channels = 0;
    std::int64_t* count = nullptr;
    float* shift = nullptr;
    double* sum = nullptr;
    double* square_sum = nullptr;

    /// Bytes that `in` takes.
    static std::size_t bytes(std::int64_t blocks, std::int64_t channels);
    /// Lays the arrays out, uninitialised, in 64-byte aligned `memory`.
    static MomentPartials in(void* memory, std::int64_t blocks, std::int64_t channels);
};

/// stats (overwritten) over all rows, the blocks combined in order by the update of Chan, Golub and LeVeque
/// ("Updating formulae and a pairwise algorithm for computing sample variances", 1979, equation 2.1), and the
/// running values moved towards them (the variance unbiased). Throws a usage error where a channel has only
/// one value.
void finish_statistics(const BatchNormStats& stats, const BatchNormParameters& parameters,
                       const MomentPartials& partials);

/// Normalisation as scale * y + shift: scale = gamma * inv_std, shift = beta - mean * scale. Both [C].
void apply_coefficients(float* scale, float* shift, const BatchNormStats& stats,
                        const BatchNormParameters& parameters);

/// Backward as dy = a * dz + b * y + c, with m = `rows` per channel:
///   a = gamma * inv_std;  b = -a * inv_std * dgamma / m;  c = -a * dbeta / m - mean * b. All [C].
void backward_coefficients(float* a, float* b, float* c, std::int64_t rows, const Tensor& dgamma,
                           const Tensor& dbeta, const BatchNormStats& stats, const Tensor& gamma);

}  // namespace qstep::cpu

#include "kernels/batch_norm_checks.h"

#include <cmath>

#include "kernels/cpu/batch_norm_finish.h"
#include "kernels/cpu/batch_norm_loops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

// Sums are taken over this many blocks of rows, whatever the number of threads, so that results do not depend
// on it.
constexpr std::int64_t kBlocks = 32;
// Rows, spread over the tensor, whose mean is the shift of the moments.
constexpr std::int64_t kShiftRows = 16;

// Scratch of every pass: per-channel values (and the same repeated over a tile), sums of blocks, and float
// sums of each thread.
struct Arrays {
    Tiling tiling;
    float* values[3];    // [channels]
    float* repeated[3];  // [width]
    double* sums[2];     // [kBlocks, channels]
    float* partials;     // [threads, 2 * width]

    Arrays(Context& context, std::int64_t channels) : tiling(channels) {
        Scratch scratch(context.workspace().lend(bytes(context, channels)));
        for (auto& array : values) array = scratch.take<float>(channels);
        for (auto& array : repeated) array = scratch.take<float>(tiling.width);
        for (auto& array : sums) array = scratch.take<double>(kBlocks * channels);
        partials = scratch.take<float>(context.threads() * 2 * tiling.width);
    }
    static std::size_t bytes(const Context& context, std::int64_t channels) {
        const auto c = static_cast<std::size_t>(channels);
        const auto width = static_cast<std::size_t>(Tiling(channels).width);
        return 3 * scratch_bytes(c * sizeof(float)) + 3 * scratch_bytes(width * sizeof(float)) +
               2 * scratch_bytes(kBlocks * c * sizeof(double)) +
               scratch_bytes(static_cast<std::size_t>(context.threads()) * 2 * width * sizeof(float));
    }
    float* repeat(int which) const {
        repeat_channels(repeated[which], values[which], tiling);
        return repeated[which];
    }
};

// Calls body(block, first row, rows, thread's partials) for every block; the last blocks may be empty.
template <typename Body>
void for_each_block(const Context& context, const Arrays& arrays, std::int64_t rows, std::int64_t channels,
                    const Body& body) {
    const std::int64_t unit = arrays.tiling.unit() / channels;
    const std::int64_t length = (rows + kBlocks * unit - 1) / (kBlocks * unit) * unit;
    parallel_ranges(context, kBlocks, 1, rows * channels / kBlocks,
                    [&](std::int64_t begin, std::int64_t end) {
                        float* partial = arrays.partials + omp_get_thread_num() * 2 * arrays.tiling.width;
                        for (std::int64_t b = begin; b < end; ++b) {
                            const std::int64_t first = std::min(b * length, rows);
                            body(b, first, std::min(length, rows - first), partial);
                        }
                    });
}

// values[0][c] = mean of some rows: near enough to the mean to keep squares about it small.
template <typename T>
void estimate_shift(float* shift, const T* y, std::int64_t rows, std::int64_t channels) {
    const std::int64_t taken = std::min(rows, kShiftRows);
    for (std::int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (std::int64_t r = 0; r < taken; ++r)
            sum += static_cast<double>(to_float(y[(r * rows / taken) * channels + c]));
        shift[c] = static_cast<float>(sum / static_cast<double>(taken));
    }
}

// Adds the blocks' sums up, in order, into the first block's.
void add_blocks(double* sums, std::int64_t channels) {
    for (std::int64_t b = 1; b < kBlocks; ++b)
        for (std::int64_t c = 0; c < channels; ++c) sums[c] += sums[b * channels + c];
}

}  // namespace

std::size_t batch_norm_workspace(const Context& context, std::int64_t, std::int64_t channels) {
    return Arrays::bytes(context, channels);
}

void batch_norm_statistics(Context& context, const BatchNormStats& stats,
                           const BatchNormParameters& parameters, const Tensor& y) {
    const std::int64_t channels = stats.mean.count();
    std::int64_t rows = qstep::detail::checked_rows(y, stats);
    const Arrays arrays(context, channels);
    float* shift = arrays.values[0];
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        const auto* from = y.as<T>();
        estimate_shift(shift, from, rows, channels);
        const float* repeated = arrays.repeat(0);
        for_each_block(context, arrays, rows, channels,
                       [&](std::int64_t b, std::int64_t first, std::int64_t n, float* partial) {
                           moments_range(arrays.tiling, arrays.sums[0] + b * channels,
                                         arrays.sums[1] + b * channels, partial, from + first * channels,
                                         repeated, n * channels);
                       });
    });
    add_blocks(arrays.sums[0], channels);
    add_blocks(arrays.sums[1], channels);
    MomentPartials total;
    total.blocks = 1;
    total.channels = channels;
    total.count = &rows;
    total.shift = shift;
    total.sum = arrays.sums[0];
    total.square_sum = arrays.sums[1];
    finish_statistics(stats, parameters, total);
}

void batch_norm_running_statistics(Context&, const BatchNormStats& stats,
                                   const BatchNormParameters& parameters) {
    qstep::detail::check_running(stats, parameters);
    for (std::int64_t c = 0; c < stats.mean.count(); ++c) {
        const double variance = parameters.running_var.as<float>()[c];
        stats.mean.as<float>()[c] = parameters.running_mean.as<float>()[c];
        stats.inv_std.as<float>()[c] =
            static_cast<float>(1.0 / std::sqrt(variance + static_cast<double>(parameters.eps)));
    }
}

void batch_norm_apply(Context& context, const Tensor& out, const Tensor& y, const Tensor& residual, bool relu,
                      const BatchNormStats& stats, const BatchNormParameters& parameters) {
    const std::int64_t rows = qstep::detail::check_apply(out, y, residual, stats, parameters),
                       channels = stats.mean.count();
    const Arrays arrays(context, channels);
    const Tiling& tiling = arrays.tiling;
    apply_coefficients(arrays.values[0], arrays.values[1], stats, parameters);
    const float *scale = arrays.repeat(0), *shift = arrays.repeat(1);
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        auto* to = out.as<T>();
        const auto* from = y.as<T>();
        const T* shortcut = residual ? residual.as<T>() : nullptr;
        parallel_ranges(
            context, rows * channels, tiling.unit(), 1, [=](std::int64_t begin, std::int64_t end) {
                normalize_range(tiling, to + begin, from + begin, shortcut ? shortcut + begin : nullptr, relu,
                                scale, shift, end - begin);
            });
    });
}

void batch_norm_backward_reduce(Context& context, const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                                const Tensor& dout, const Tensor& out, const Tensor& y,
                                const BatchNormStats& stats) {
    const std::int64_t rows = qstep::detail::check_backward_reduce(dz, dgamma, dbeta, dout, out, y, stats),
                       channels = stats.mean.count();
    const Arrays arrays(context, channels);
    std::copy_n(stats.mean.as<float>(), channels, arrays.values[0]);
    const float* mean = arrays.repeat(0);
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        for_each_block(context, arrays, rows, channels,
                       [&](std::int64_t b, std::int64_t first, std::int64_t n, float* partial) {
                           const std::int64_t at = first * channels;
                           reduce_range(arrays.tiling, arrays.sums[0] + b * channels,
                                        arrays.sums[1] + b * channels, partial, dz.as<T>() + at,
                                        dout.as<T>() + at, out ? out.as<T>() + at : nullptr, y.as<T>() + at,
                                        mean, n * channels);
                       });
    });
    add_blocks(arrays.sums[0], channels);
    add_blocks(arrays.sums[1], channels);
    for (std::int64_t c = 0; c < channels; ++c) {
        dbeta.as<float>()[c] = static_cast<float>(arrays.sums[0][c]);
        dgamma.as<float>()[c] =
            static_cast<float>(arrays.sums[1][c] * static_cast<double>(stats.inv_std.as<float>()[c]));
    }
}

void batch_norm_backward_apply(Context& context, const Tensor& dy, GradMode mode, const Tensor& dz,
                               const Tensor& y, const Tensor& dgamma, const Tensor& dbeta,
                               const BatchNormStats& stats, const Tensor& gamma) {
    if (mode == GradMode::skip) return;
    const std::int64_t rows = qstep::detail::check_backward_apply(dy, dz, y, dgamma, dbeta, stats, gamma),
                       channels = stats.mean.count();
    const Arrays arrays(context, channels);
    const Tiling& tiling = arrays.tiling;
    const auto& values = arrays.values;
    backward_coefficients(values[0], values[1], values[2], rows, dgamma, dbeta, stats, gamma);
    const float *a = arrays.repeat(0), *b = arrays.repeat(1), *c = arrays.repeat(2);
    const bool accumulate = mode == GradMode::accumulate;
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        auto* to = dy.as<T>();
        const auto *gradient = dz.as<T>(), *from = y.as<T>();
        parallel_ranges(context, rows * channels, tiling.unit(), 1,
                        [=](std::int64_t begin, std::int64_t end) {
                            backward_range(tiling, to + begin, accumulate, gradient + begin, from + begin, a,
                                           b, c, end - begin);
                        });
    });
}

}  // namespace qstep::cpu

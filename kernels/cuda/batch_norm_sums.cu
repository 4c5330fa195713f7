// The two reductions of batch normalisation (formulas in kernels/batch_norm.h), each one launch: blocks sum
// their rows, and the last block to finish a tile of channels adds the blocks up and ends the job.
//
// Threads sum up to 64 rows in float32; from there on sums are in double, in an order that depends on sizes
// alone. Moments are taken about the first row of a block, blocks are combined as by Chan, Golub and LeVeque
// ("Updating formulae and a pairwise algorithm for computing sample variances", 1979).
//
// Bytes of an element (f32 / bf16) and time at 4.3 TB/s for [128,32,32,16] (2.1 M elements):
//   statistics        4 / 2 read                                   2.0 us / 1.0 us
//   backward reduce   12 / 6 read, 4 / 2 written (8 / 4 without ReLU, nothing written)   7.8 us / 3.9 us
// and some 5 operations an element. The end of the job reads 16 bytes per channel and block from the cache,
// about a microsecond.
#include "kernels/batch_norm_checks.h"
#include "kernels/cuda/arrival_counters.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/device/batch_norm.cuh"
#include "kernels/cuda/device/columns.cuh"
#include "kernels/float_types.h"

namespace qstep::cuda {

namespace {

// Rows that a thread loads before it uses one.
constexpr int kMomentBatch = 8, kReduceBatch = 4;
// Float32 partials have at most 64 terms. Two blocks for each multiprocessor of a large GPU.
constexpr ColumnWork kSumWork = {8, 64, 264};

template <typename T, int kVector>
__global__ void __launch_bounds__(kColumnThreads)
    statistics_kernel(Columns columns, const T* y, Partials partials, int* arrived, StatisticsTargets to) {
    const auto place = ColumnPlace::of<kVector>(columns);
    wait_for_predecessor(place.indices());
    float sum[kVector] = {}, square_sum[kVector] = {};
    if (place.active) {
        const auto first = load<kVector>(y + place.first * columns.channels + place.channel);
        float shift[kVector];
        unpack(shift, first);
        const std::int64_t lanes = columns.lanes;
        for (std::int64_t row = place.first + place.lane; row < place.end; row += kMomentBatch * lanes) {
            Packed<T, kVector> packed[kMomentBatch];
#pragma unroll
            for (int i = 0; i < kMomentBatch; ++i) {
                const std::int64_t at = row + i * lanes;
                // The shift itself adds nothing to sums about it.
                packed[i] = first;
                if (at < place.end) packed[i] = load<kVector>(y + at * columns.channels + place.channel);
            }
#pragma unroll
            for (int i = 0; i < kMomentBatch; ++i) {
                float value[kVector];
                unpack(value, packed[i]);
#pragma unroll
                for (int v = 0; v < kVector; ++v) {
                    const float offset = value[v] - shift[v];
                    sum[v] += offset;
                    square_sum[v] = fmaf(offset, offset, square_sum[v]);
                }
            }
        }
    }
    const ColumnSums<kVector> sums(columns);
    double total[2];
    sums.add_lanes(total, sum, square_sum, columns);
    if (sums.holds_total(columns, place)) {
        const std::int64_t channel = sums.channel(place);
        const double shift = static_cast<double>(to_float(y[place.first * columns.channels + channel]));
        const double offset = total[0] / static_cast<double>(place.end - place.first);
        const std::int64_t at = partials.at(sums, place.tile, columns.row_blocks, place.row_block);
        partials.first[at] = shift + offset;
        partials.second[at] = total[1] - offset * total[0];
    }
    if (!last_to_arrive(arrived + place.tile, columns.row_blocks)) return;
    const Moments moments = combine_moments(sums, partials, place.tile, columns.row_blocks, [&](int block) {
        const std::int64_t left = columns.rows - block * columns.chunk;
        return left < columns.chunk ? left : columns.chunk;
    });
    if (sums.holds_total(columns, place))
        write_statistics(to, sums.channel(place), static_cast<double>(columns.rows), moments);
}

template <typename T>
struct Gradients {
    T* dz;
    const T *dout, *out, *y;
    const float* mean;
    ReductionTargets to;
};

template <typename T, int kVector, bool kRelu>
__device__ void reduce_rows(float (&dbeta)[kVector], float (&centred)[kVector], const Columns& columns,
                            const ColumnPlace& place, const Gradients<T>& data) {
    float mean[kVector];
    load_floats(mean, data.mean + place.channel);
    const std::int64_t lanes = columns.lanes;
    for (std::int64_t row = place.first + place.lane; row < place.end; row += kReduceBatch * lanes) {
        Packed<T, kVector> gradients[kReduceBatch], outs[kReduceBatch], values[kReduceBatch];
#pragma unroll
        for (int i = 0; i < kReduceBatch; ++i) {
            if (row + i * lanes >= place.end) continue;
            const std::int64_t at = (row + i * lanes) * columns.channels + place.channel;
            gradients[i] = load<kVector>(data.dout + at);
            values[i] = load<kVector>(data.y + at);
            if constexpr (kRelu) outs[i] = load<kVector>(data.out + at);
        }
#pragma unroll
        for (int i = 0; i < kReduceBatch; ++i) {
            if (row + i * lanes >= place.end) continue;
            float gradient[kVector], value[kVector];
            unpack(gradient, gradients[i]);
            unpack(value, values[i]);
            if constexpr (kRelu) {
                float out[kVector];
                unpack(out, outs[i]);
#pragma unroll
                for (int v = 0; v < kVector; ++v) gradient[v] = out[v] > 0.0f ? gradient[v] : 0.0f;
                store_floats(data.dz + (row + i * lanes) * columns.channels + place.channel, gradient);
            }
#pragma unroll
            for (int v = 0; v < kVector; ++v) {
                dbeta[v] += gradient[v];
                centred[v] = fmaf(gradient[v], value[v] - mean[v], centred[v]);
            }
        }
    }
}

template <typename T, int kVector, bool kRelu>
__global__ void __launch_bounds__(kColumnThreads)
    backward_reduce_kernel(Columns columns, Gradients<T> data, Partials partials, int* arrived) {
    const auto place = ColumnPlace::of<kVector>(columns);
    wait_for_predecessor(place.indices());
    float dbeta[kVector] = {}, centred[kVector] = {};
    if (place.active) reduce_rows<T, kVector, kRelu>(dbeta, centred, columns, place, data);
    const ColumnSums<kVector> sums(columns);
    double total[2];
    sums.add_lanes(total, dbeta, centred, columns);
    if (sums.holds_total(columns, place)) {
        const std::int64_t at = partials.at(sums, place.tile, columns.row_blocks, place.row_block);
        partials.first[at] = total[0];
        partials.second[at] = total[1];
    }
    if (!last_to_arrive(arrived + place.tile, columns.row_blocks)) return;
    add_blocks(total, sums, partials, place.tile, columns.row_blocks);
    if (sums.holds_total(columns, place)) data.to.write(sums.channel(place), total);
}

/// Of one of the two arrays.
std::int64_t partial_count(const Columns& columns, int vector) {
    return columns.blocks() * columns.width * vector;
}
std::size_t partial_bytes(const Columns& columns, int vector) {
    return static_cast<std::size_t>(2 * partial_count(columns, vector)) * sizeof(double);
}

Partials partials_in(void* workspace, const Columns& columns, int vector) {
    QSTEP_CHECK(columns.tiles <= kArrivalCounters, "batch normalisation of {} channels", columns.channels);
    auto* first = static_cast<double*>(workspace);
    return {first, first + partial_count(columns, vector)};
}

template <typename T, int kVector>
void launch_statistics(const Context& context, const Tensor& y, std::int64_t rows, std::int64_t channels,
                       const StatisticsTargets& to, void* workspace) {
    const Columns columns = divide_columns(rows, channels, kVector, kSumWork);
    launch(context, "batch_norm_statistics", statistics_kernel<T, kVector>,
           {columns.blocks(), kColumnThreads}, columns, y.as<T>(), partials_in(workspace, columns, kVector),
           arrival_counters(context), to);
}

template <typename T, int kVector>
void launch_backward_reduce(const Context& context, const Gradients<T>& data, std::int64_t rows,
                            std::int64_t channels, void* workspace) {
    const Columns columns = divide_columns(rows, channels, kVector, kSumWork);
    const auto kernel =
        data.out ? backward_reduce_kernel<T, kVector, true> : backward_reduce_kernel<T, kVector, false>;
    launch(context, "batch_norm_backward_reduce", kernel, {columns.blocks(), kColumnThreads}, columns, data,
           partials_in(workspace, columns, kVector), arrival_counters(context));
}

void sum_gradients(const Context& context, const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                   const Tensor& dout, const Tensor& out, const Tensor& y, const BatchNormStats& stats,
                   void* workspace) {
    const std::int64_t rows = qstep::detail::check_backward_reduce(dz, dgamma, dbeta, dout, out, y, stats),
                       channels = stats.mean.count();
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        const Gradients<T> data{dz.as<T>(),
                                dout.as<T>(),
                                out ? out.as<T>() : nullptr,
                                y.as<T>(),
                                stats.mean.as<float>(),
                                {stats.inv_std.as<float>(), dgamma.as<float>(), dbeta.as<float>()}};
        if (channels % kVectorOf<T> == 0 &&
            aligned_for_vectors(data.dz, data.dout, data.out, data.y, data.mean))
            launch_backward_reduce<T, kVectorOf<T>>(context, data, rows, channels, workspace);
        else
            launch_backward_reduce<T, 1>(context, data, rows, channels, workspace);
    });
}

}  // namespace

void check_enough_rows(std::int64_t rows) {
    if (rows < 2)
        fail_usage(
            "batch normalisation needs at least two values per channel to train on; take a larger batch");
}

std::size_t batch_norm_workspace(const Context& context, std::int64_t rows, std::int64_t channels) {
    arrival_counters(context);  // made here, since a captured step must not allocate
    std::size_t bytes = 0;
    for (const int vector : {1, kVectorOf<float>, kVectorOf<bf16>})
        if (channels > 0 && channels % vector == 0)
            bytes = std::max(bytes, partial_bytes(divide_columns(rows, channels, vector, kSumWork), vector));
    return bytes;
}

void take_statistics(const Context& context, const BatchNormStats& stats,
                     const BatchNormParameters& parameters, const Tensor& y, void* workspace) {
    qstep::detail::check_running(stats, parameters);
    const std::int64_t channels = stats.mean.count(), rows = qstep::detail::checked_rows(y, stats);
    check_enough_rows(rows);
    const StatisticsTargets to(stats, parameters);
    with_float_type(y.dtype, "y", [&]<typename T>(T) {
        if (channels % kVectorOf<T> == 0 && aligned_for_vectors(y.as<T>()))
            launch_statistics<T, kVectorOf<T>>(context, y, rows, channels, to, workspace);
        else
            launch_statistics<T, 1>(context, y, rows, channels, to, workspace);
    });
}

void batch_norm_statistics(Context& context, const BatchNormStats& stats,
                           const BatchNormParameters& parameters, const Tensor& y) {
    const std::int64_t rows = qstep::detail::checked_rows(y, stats);
    const std::size_t bytes = cuda::batch_norm_workspace(context, rows, stats.mean.count());
    take_statistics(context, stats, parameters, y, context.workspace().lend(bytes));
}

void reduce_backward(const Context& context, const Tensor& dx, const InputReduction& input, const Tensor& x,
                     void* workspace) {
    sum_gradients(context, dx, input.dgamma, input.dbeta, dx, input.relu ? x : Tensor{}, input.y, input.stats,
                  workspace);
}

void batch_norm_backward_reduce(Context& context, const Tensor& dz, const Tensor& dgamma, const Tensor& dbeta,
                                const Tensor& dout, const Tensor& out, const Tensor& y,
                                const BatchNormStats& stats) {
    const std::int64_t rows = qstep::detail::checked_rows(y, stats);
    const std::size_t bytes = cuda::batch_norm_workspace(context, rows, stats.mean.count());
    sum_gradients(context, dz, dgamma, dbeta, dout, out, y, stats, context.workspace().lend(bytes));
}

}  // namespace qstep::cuda

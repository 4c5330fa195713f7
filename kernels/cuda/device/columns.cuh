// Work on a matrix [rows, channels] whose channels differ in what is done to them (coefficients) or are
// summed: every thread keeps to one vector of channels and walks down the rows.
//
// A block of kColumnThreads covers a tile of `width` neighbouring vectors and `lanes` rows at a time; thread
// t has vector t % width of the tile and lane t / width. Together a block's accesses are contiguous where a
// tile is a whole row, and runs of 32 vectors otherwise. The division depends on sizes alone, so sums do too.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/cuda/device/vector.cuh"

namespace qstep::cuda {

inline constexpr int kColumnThreads = 256;
/// Vectors of a tile at most.
inline constexpr int kWidestTile = 32;

/// How many rows a thread walks and how many blocks there should be.
struct ColumnWork {
    std::int64_t fewest_rows;  // of a thread, unless there are not so many
    std::int64_t most_rows;    // of a thread; more blocks instead
    std::int64_t blocks;       // beyond this many blocks threads get more than the fewest rows
};

struct Columns {
    std::int64_t rows, channels;
    std::int64_t chunk;  // rows of a block
    int row_blocks;      // chunks
    int vectors;         // of a row
    int width, lanes;
    int tiles;  // that make up a row

    std::int64_t blocks() const { return static_cast<std::int64_t>(row_blocks) * tiles; }
};

/// `vector` divides `channels`.
inline Columns divide_columns(std::int64_t rows, std::int64_t channels, int vector, const ColumnWork& work) {
    Columns columns{};
    columns.rows = rows;
    columns.channels = channels;
    columns.vectors = static_cast<int>(channels / vector);
    columns.width = std::min(columns.vectors, kWidestTile);
    columns.lanes = kColumnThreads / columns.width;
    columns.tiles = (columns.vectors + columns.width - 1) / columns.width;
    const std::int64_t passes = (rows + columns.lanes - 1) / columns.lanes;
    const std::int64_t wanted = std::max<std::int64_t>(1, work.blocks / columns.tiles);
    const std::int64_t rows_a_thread =
        std::clamp((passes + wanted - 1) / wanted, work.fewest_rows, work.most_rows);
    columns.chunk = rows_a_thread * columns.lanes;
    columns.row_blocks = static_cast<int>((rows + columns.chunk - 1) / columns.chunk);
    return columns;
}

/// Where a thread stands.
struct ColumnPlace {
    int tile, row_block;
    int lane;
    std::int64_t channel;     // the first of its vector
    std::int64_t first, end;  // the block's rows
    bool active;              // whether it has any vector

    template <int kVector>
    __device__ static ColumnPlace of(const Columns& columns) {
        ColumnPlace place;
        const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
        place.tile = block % columns.tiles;
        place.row_block = block / columns.tiles;
        place.lane = thread / columns.width;
        const int vector = place.tile * columns.width + thread % columns.width;
        place.channel = static_cast<std::int64_t>(vector) * kVector;
        place.first = place.row_block * columns.chunk;
        place.end = place.first + columns.chunk;
        if (place.end > columns.rows) place.end = columns.rows;
        place.active = place.lane < columns.lanes && vector < columns.vectors;
        return place;
    }
    /// All of them, for wait_for_predecessor().
    __device__ std::int64_t indices() const { return lane | channel | first | end; }
};

/// Pairs of sums, one pair for each of some channels, that the threads of a block add up: which threads hold
/// which. A block has kColumnThreads.
struct SharedSums {
    int outputs;   // channels
    int segments;  // shares of a sum that threads add up at the same time
    int output;    // this thread's channel
    int segment;

    __device__ explicit SharedSums(int outputs_) : outputs(outputs_) {
        const int thread = static_cast<int>(threadIdx.x);
        segments = kColumnThreads / outputs;
        output = thread % outputs;
        segment = thread / outputs;
    }

    /// The blocks whose sums this thread adds up when all of `blocks` are through.
    __device__ int first_block(int blocks) const { return segment * ((blocks + segments - 1) / segments); }
    __device__ int end_block(int blocks) const {
        const int end = (segment + 1) * ((blocks + segments - 1) / segments);
        if (segment >= segments) return 0;
        return end < blocks ? end : blocks;
    }

    /// total: this thread's share of two sums; on return, where segment == 0, all shares added in order.
    __device__ void fold(double (&total)[2]) const {
        QSTEP_SHARED double shares[2][kColumnThreads];
        const int thread = static_cast<int>(threadIdx.x);
        shares[0][thread] = total[0];
        shares[1][thread] = total[1];
        __syncthreads();
        if (segment != 0) return;
        for (int s = 1; s < segments; ++s) {
            total[0] += shares[0][s * outputs + output];
            total[1] += shares[1][s * outputs + output];
        }
    }
};

/// The sums of a block that covers a tile of columns, kVector of them a vector.
template <int kVector>
struct ColumnSums : SharedSums {
    __device__ explicit ColumnSums(const Columns& columns) : SharedSums(columns.width * kVector) {}
    /// This thread's channel of the matrix; only threads with holds_total() have one.
    __device__ std::int64_t channel(const ColumnPlace& place) const {
        return static_cast<std::int64_t>(place.tile) * outputs + output;
    }
    __device__ bool holds_total(const Columns& columns, const ColumnPlace& place) const {
        return segment == 0 && channel(place) < columns.channels;
    }

    /// The sums over lanes of what every thread (zero in those that are not active) has for its vector.
    __device__ void add_lanes(double (&total)[2], const float (&first)[kVector],
                              const float (&second)[kVector], const Columns& columns) const {
        // Padded by a row of the tile, so that the lanes of a warp read different banks.
        QSTEP_SHARED float slots[2 * kVector * (kColumnThreads + kWidestTile)];
        const int thread = static_cast<int>(threadIdx.x), stride = kColumnThreads + columns.width;
#pragma unroll
        for (int v = 0; v < kVector; ++v) {
            slots[v * stride + thread] = first[v];
            slots[(kVector + v) * stride + thread] = second[v];
        }
        __syncthreads();
        total[0] = total[1] = 0;
        const int share = (columns.lanes + segments - 1) / segments;
        const int column = output / kVector, v = output % kVector;
        for (int i = 0; i < share; ++i) {
            const int lane = segment * share + i;
            if (segment >= segments || lane >= columns.lanes) break;
            const int at = v * stride + lane * columns.width + column;
            total[0] += static_cast<double>(slots[at]);
            total[1] += static_cast<double>(slots[at + kVector * stride]);
        }
        fold(total);
    }
};

}  // namespace qstep::cuda

// Copies of all weights and back, many tensors in one launch. A convolution's [O,I,KH*KW] becomes
// [O,KH*KW,I]: for each output channel a matrix is transposed, a tile of input channels at a time, through
// shared memory, so that both sides are read and written in the order in which they lie. A linear layer's
// weights keep their order and are one row of 1x1 filters.
//
// 6 bytes an element for bf16 (f32: 8), both ways. All of ResNet-20 (270 K weights) takes 0.4 us at 4.3 TB/s,
// so a launch, 2 us, is what it costs.
#include "kernels/weight_copies.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/device/launch.h"
#include "kernels/float_types.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

constexpr int kThreads = 128;
// Floats of a tile: 16 KiB, which several blocks of a multiprocessor have at the same time.
constexpr std::int64_t kTileElements = 4096;
// Weights of a launch: the table is a parameter of the kernel, for which every GPU has 4 KiB.
constexpr int kMostWeights = 64;

/// One weight's part of the grid.
struct Filters {
    float* master;    // [outputs, inputs, taps]
    void* copy;       // [outputs, taps, inputs]
    int first_block;  // of the grid
    int inputs, taps;
    int tile;   // input channels of a block
    int tiles;  // blocks of an output channel
};

struct Table {
    int count;
    Filters filters[kMostWeights];
};

// What a block handles: input channels first..first+count-1 of one output channel.
struct FilterTile {
    int taps, inputs, count, elements;
    std::int64_t master, copy;  // places of its first elements
    __device__ FilterTile(const Filters& filters) {
        const int block = static_cast<int>(blockIdx.x) - filters.first_block;
        const int output = block / filters.tiles, first = block % filters.tiles * filters.tile;
        taps = filters.taps;
        inputs = filters.inputs;
        count = inputs - first < filters.tile ? inputs - first : filters.tile;
        elements = count * taps;
        const std::int64_t row = static_cast<std::int64_t>(output) * inputs * taps;
        master = row + static_cast<std::int64_t>(first) * taps;
        copy = row + first;
    }
    // Of element e in the copy's order: where it lies in shared memory, and behind `copy`.
    __device__ int in_tile(int e) const { return e % count * taps + e / count; }
    __device__ std::int64_t in_copy(int e) const {
        return static_cast<std::int64_t>(e / count) * inputs + e % count;
    }
};

__device__ const Filters& filters_of_block(const Table& table) {
    int low = 0, high = table.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (static_cast<int>(blockIdx.x) < table.filters[middle].first_block)
            high = middle;
        else
            low = middle;
    }
    return table.filters[low];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) make_copies_kernel(const __grid_constant__ Table table) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const Filters& filters = filters_of_block(table);
    const FilterTile at(filters);
    wait_for_predecessor(at.elements | at.master | at.copy);
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        tile[e] = filters.master[at.master + e];
    __syncthreads();
    T* copy = static_cast<T*>(filters.copy) + at.copy;
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        copy[at.in_copy(e)] = from_float<T>(tile[at.in_tile(e)]);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) collect_kernel(const __grid_constant__ Table table) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const Filters& filters = filters_of_block(table);
    const FilterTile at(filters);
    wait_for_predecessor(at.elements | at.master | at.copy);
    const T* copy = static_cast<const T*>(filters.copy) + at.copy;
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        tile[at.in_tile(e)] = to_float(copy[at.in_copy(e)]);
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        filters.master[at.master + e] = tile[e];
}

/// A table that fills, and the grid that goes with it.
class Batch {
  public:
    void add(const Tensor& master, const Tensor& copy) {
        QSTEP_CHECK(table_.count == 0 || copy.dtype == dtype_, "copies in {} and in {}", name_of(dtype_),
                    name_of(copy.dtype));
        dtype_ = copy.dtype;
        const bool filters = master.shape.rank() == 4;
        const Shape &a = master.shape, &b = copy.shape;
        QSTEP_CHECK(
            filters ? b.rank() == 4 && a[0] == b[0] && a[1] == b[3] && a[2] == b[1] && a[3] == b[2] : a == b,
            "weights {} do not fit the copy {}", a.to_string(), b.to_string());
        const std::int64_t outputs = filters ? a[0] : 1, taps = filters ? a[2] * a[3] : 1;
        QSTEP_CHECK(a.count() > 0 && taps <= kTileElements, "weights {}", a.to_string());
        const std::int64_t inputs = a.count() / (outputs * taps);
        const std::int64_t tile = std::min(inputs, kTileElements / taps), tiles = (inputs + tile - 1) / tile;
        table_.filters[table_.count++] = {master.as<float>(),        copy.data,
                                          static_cast<int>(blocks_), static_cast<int>(inputs),
                                          static_cast<int>(taps),    static_cast<int>(tile),
                                          static_cast<int>(tiles)};
        blocks_ += outputs * tiles;
        tile_elements_ = std::max(tile_elements_, tile * taps);
    }
    bool full() const { return table_.count == kMostWeights; }
    const Table& table() const { return table_; }
    DType dtype() const { return dtype_; }
    LaunchShape shape() const {
        return {blocks_, kThreads, static_cast<std::size_t>(tile_elements_) * sizeof(float)};
    }

  private:
    Table table_{};
    DType dtype_ = DType::f32;
    std::int64_t blocks_ = 0, tile_elements_ = 0;
};

/// In as few launches as possible; `run` launches one.
template <typename Run>
void in_batches(std::span<const WeightCopy> copies, Tensor WeightCopy::*master, Tensor WeightCopy::*copy,
                const Run& run) {
    Batch batch;
    for (const WeightCopy& weight : copies) {
        if (!(weight.*copy)) continue;
        batch.add(weight.*master, weight.*copy);
        if (batch.full()) run(std::exchange(batch, {}));
    }
    run(batch);
}

}  // namespace

std::optional<WeightLayout> weight_layout(const Context&, WeightUse use, const Shape& master,
                                          DType precision) {
    switch (use) {
        case WeightUse::convolution:
            return WeightLayout{precision, {master[0], master[2], master[3], master[1]}, true};
        case WeightUse::linear:
            if (precision == DType::f32) return std::nullopt;
            return WeightLayout{precision, master, false};
        case WeightUse::other:
            break;
    }
    return std::nullopt;
}

void make_weight_copies(Context& context, std::span<const WeightCopy> copies) {
    in_batches(copies, &WeightCopy::weight, &WeightCopy::copy, [&](const Batch& batch) {
        with_float_type(batch.dtype(), "copies of weights", [&]<typename T>(T) {
            launch(context, "make_weight_copies", make_copies_kernel<T>, batch.shape(), batch.table());
        });
    });
}

void collect_weight_gradients(Context& context, std::span<const WeightCopy> copies) {
    in_batches(copies, &WeightCopy::gradient, &WeightCopy::copy_gradient, [&](const Batch& batch) {
        with_float_type(batch.dtype(), "copies of gradients", [&]<typename T>(T) {
            launch(context, "collect_weight_gradients", collect_kernel<T>, batch.shape(), batch.table());
        });
    });
}

}  // namespace qstep::cuda

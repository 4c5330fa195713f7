// Copies of all weights and back, many tensors in one launch. A convolution's [O,I,KH*KW] becomes
// [O,KH*KW,I]: for each output channel a matrix is transposed, a tile of input channels at a time, through
// shared memory, so that both sides are read and written in the order in which they lie. A linear layer's
// weights keep their order and are one row of 1x1 filters.
//
// 6 bytes an element for bf16 (f32: 8), both ways. All of ResNet-20 (270 K weights) takes 0.4 us at 4.3 TB/s,
// so a launch, 2 us, is what it costs. Where gradients come in parts (narrow_conv.h), collecting them reads
// 35 MB for ResNet-20, 7 us; adding them up in each convolution's own launch would take its last block 2 to 3
// us.
#include "kernels/weight_copies.h"

#include <algorithm>
#include <utility>

#include "engine/bf16.h"
#include "kernels/cuda/device/launch.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

constexpr int kThreads = 160;
// Floats of a tile: 16 KiB, which several blocks of a multiprocessor have at the same time.
constexpr std::int64_t kTileElements = 4096;
// Where many parts are added up, a block has an element a thread: 9 taps of 16 input channels.
constexpr std::int64_t kSummedElements = 144;
// Weights of a launch: the table is a parameter of the kernel, for which every GPU has 4 KiB.
constexpr int kMostWeights = 64;

/// One weight's part of the grid.
struct Filters {
    float* master;    // [outputs, inputs, taps]
    void* copy;       // [outputs, taps, inputs]
    int first_block;  // of the grid
    int outputs, inputs, taps;
    int tile;   // input channels of a block
    int tiles;  // blocks of an output channel
    int parts;  // of a gradient, one behind the other
    bool in_bf16;
};

struct Table {
    int count;
    Filters filters[kMostWeights];
};

// What a block handles: input channels first..first+count-1 of one output channel.
struct FilterTile {
    int taps, inputs, count, elements;
    std::int64_t master, copy;  // places of its first elements
    std::int64_t part;          // elements of a part
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
        const int outputs = filters.outputs;
        part = static_cast<std::int64_t>(outputs) * inputs * taps;
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

__global__ void __launch_bounds__(kThreads) make_copies_kernel(const __grid_constant__ Table table) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const Filters& filters = filters_of_block(table);
    const FilterTile at(filters);
    wait_for_predecessor(at.elements | at.master | at.copy);
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        tile[e] = filters.master[at.master + e];
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads) {
        const std::int64_t place = at.copy + at.in_copy(e);
        const float value = tile[at.in_tile(e)];
        if (filters.in_bf16)
            static_cast<bf16*>(filters.copy)[place] = to_bf16(value);
        else
            static_cast<float*>(filters.copy)[place] = value;
    }
}

// The gradient's element at this place of the copy's order.
__device__ float sum_parts(const Filters& filters, const FilterTile& at, std::int64_t place) {
    if (filters.in_bf16) return to_float(static_cast<const bf16*>(filters.copy)[place]);
    const float* part = static_cast<const float*>(filters.copy) + place;
    float sum = *part;
#pragma unroll 16
    for (int p = 1; p < filters.parts; ++p) sum += part[p * at.part];
    return sum;
}

__global__ void __launch_bounds__(kThreads) collect_kernel(const __grid_constant__ Table table) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const Filters& filters = filters_of_block(table);
    const FilterTile at(filters);
    wait_for_predecessor(at.elements | at.master | at.copy);
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        tile[at.in_tile(e)] = sum_parts(filters, at, at.copy + at.in_copy(e));
    __syncthreads();
    for (int e = static_cast<int>(threadIdx.x); e < at.elements; e += kThreads)
        filters.master[at.master + e] = tile[e];
}

/// A table that fills, and the grid that goes with it.
class Batch {
  public:
    void add(const Tensor& master, const Tensor& copy) {
        const bool filters = master.shape.rank() == 4, in_bf16 = copy.dtype == DType::bf16;
        const Shape &a = master.shape, &b = copy.shape;
        const std::int64_t parts = a.count() > 0 ? b.count() / a.count() : 0;
        QSTEP_CHECK(parts > 0 && (filters ? b.rank() == 4 && parts * a[0] == b[0] && a[1] == b[3] &&
                                                a[2] == b[1] && a[3] == b[2]
                                          : a == b),
                    "weights {} do not fit the copy {}", a.to_string(), b.to_string());
        QSTEP_CHECK(in_bf16 ? parts == 1 : copy.dtype == DType::f32, "{} parts in {}", parts,
                    name_of(copy.dtype));
        const std::int64_t outputs = filters ? a[0] : 1, taps = filters ? a[2] * a[3] : 1;
        QSTEP_CHECK(taps <= kTileElements, "weights {}", a.to_string());
        const std::int64_t inputs = a.count() / (outputs * taps);
        const std::int64_t most =
            std::max<std::int64_t>((parts > 1 ? kSummedElements : kTileElements) / taps, 1);
        const std::int64_t tile = std::min(inputs, most), tiles = (inputs + tile - 1) / tile;
        const auto small = [](std::int64_t value) { return static_cast<int>(value); };
        table_.filters[table_.count++] = {master.as<float>(), copy.data,   small(blocks_), small(outputs),
                                          small(inputs),      small(taps), small(tile),    small(tiles),
                                          small(parts),       in_bf16};
        blocks_ += outputs * tiles;
        tile_elements_ = std::max(tile_elements_, tile * taps);
    }
    bool full() const { return table_.count == kMostWeights; }
    const Table& table() const { return table_; }
    LaunchShape shape() const {
        return {blocks_, kThreads, static_cast<std::size_t>(tile_elements_) * sizeof(float)};
    }

  private:
    Table table_{};
    std::int64_t blocks_ = 0, tile_elements_ = 0;
};

/// In as few launches as possible; `run` launches one.
template <typename Run>
void in_batches(std::span<const WeightCopy> copies, Tensor WeightCopy::*master, Tensor WeightCopy::*copy,
                const Run& run) {
    Batch batch;
    for (const WeightCopy& weight : copies) {
        if (!(weight.*copy)) continue;
        QSTEP_CHECK(copy == &WeightCopy::copy_gradient || (weight.*copy).count() == (weight.*master).count(),
                    "a copy in parts");
        batch.add(weight.*master, weight.*copy);
        if (batch.full()) run(std::exchange(batch, {}));
    }
    run(batch);
}

WeightLayout convolution_layout(const Shape& master, DType precision) {
    const Shape copy{master[0], master[2], master[3], master[1]};
    const std::int64_t parts = narrow_conv_parts(master, precision);
    if (parts == 1) return {precision, copy, WeightLayout::Gradient{precision, copy}};
    return {precision, copy,
            WeightLayout::Gradient{DType::f32, {parts * copy[0], copy[1], copy[2], copy[3]}}};
}

}  // namespace

std::optional<WeightLayout> weight_layout(const Context&, WeightUse use, const Shape& master,
                                          DType precision) {
    switch (use) {
        case WeightUse::convolution:
            return convolution_layout(master, precision);
        case WeightUse::linear:
            if (precision == DType::f32) return std::nullopt;
            return WeightLayout{precision, master, std::nullopt};
        case WeightUse::other:
            break;
    }
    return std::nullopt;
}

void make_weight_copies(Context& context, std::span<const WeightCopy> copies) {
    in_batches(copies, &WeightCopy::weight, &WeightCopy::copy, [&](const Batch& batch) {
        launch(context, "make_weight_copies", make_copies_kernel, batch.shape(), batch.table());
    });
}

void collect_weight_gradients(Context& context, std::span<const WeightCopy> copies) {
    in_batches(copies, &WeightCopy::gradient, &WeightCopy::copy_gradient, [&](const Batch& batch) {
        launch(context, "collect_weight_gradients", collect_kernel, batch.shape(), batch.table());
    });
}

}  // namespace qstep::cuda

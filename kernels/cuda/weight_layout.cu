// Convolution weights from [O,I,KH,KW] to [O,KH,KW,I] and the gradient back: for each output channel a
// [I,KH*KW] matrix is transposed, a tile of input channels at a time, through shared memory, so that both
// sides are read and written in the order in which they lie.
//
// 6 bytes an element for bf16 weights (f32: 8), 8 for the gradient, 12 accumulating. All of ResNet-20 (270 K
// weights) takes 0.4 us at 4.3 TB/s; one layer (at most 37 K weights) costs a launch.
#include "kernels/cuda/weight_layout.h"

#include <algorithm>

#include "kernels/cpu/float_types.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

namespace {

constexpr int kThreads = 128;
// Floats of a tile: 16 KiB, which several blocks of a multiprocessor have at the same time.
constexpr std::int64_t kTileElements = 4096;

struct Filters {
    std::int64_t outputs;
    int inputs;         // I
    int padded_inputs;  // J
    int taps;           // KH * KW
    int tile;           // input channels of a block
    int tiles;
};

// What a block handles: input channels first..first+count-1 of one output channel.
struct FilterTile {
    std::int64_t output;
    int first, count;
    __device__ FilterTile(const Filters& filters, int channels) {
        output = blockIdx.x / static_cast<unsigned>(filters.tiles);
        first = static_cast<int>(blockIdx.x % static_cast<unsigned>(filters.tiles)) * filters.tile;
        count = channels - first < filters.tile ? channels - first : filters.tile;
    }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) pack_kernel(Filters filters, T* to, const float* from) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const FilterTile at(filters, filters.padded_inputs);
    const int real = at.first + at.count <= filters.inputs ? at.count
                     : at.first < filters.inputs           ? filters.inputs - at.first
                                                           : 0;
    const float* source = from + (at.output * filters.inputs + at.first) * filters.taps;
    for (int e = static_cast<int>(threadIdx.x); e < at.count * filters.taps; e += kThreads)
        tile[e] = e < real * filters.taps ? source[e] : 0.0f;
    __syncthreads();
    T* target = to + at.output * filters.taps * filters.padded_inputs + at.first;
    for (int e = static_cast<int>(threadIdx.x); e < at.count * filters.taps; e += kThreads) {
        const int tap = e / at.count, channel = e % at.count;
        target[static_cast<std::int64_t>(tap) * filters.padded_inputs + channel] =
            from_float<T>(tile[channel * filters.taps + tap]);
    }
}

template <bool kAccumulate>
__global__ void __launch_bounds__(kThreads) unpack_kernel(Filters filters, float* to, const float* from) {
    auto* tile = dynamic_shared<float>();  // [count, taps]
    const FilterTile at(filters, filters.inputs);
    const float* source = from + at.output * filters.taps * filters.padded_inputs + at.first;
    for (int e = static_cast<int>(threadIdx.x); e < at.count * filters.taps; e += kThreads) {
        const int tap = e / at.count, channel = e % at.count;
        tile[channel * filters.taps + tap] =
            source[static_cast<std::int64_t>(tap) * filters.padded_inputs + channel];
    }
    __syncthreads();
    float* target = to + (at.output * filters.inputs + at.first) * filters.taps;
    for (int e = static_cast<int>(threadIdx.x); e < at.count * filters.taps; e += kThreads)
        target[e] = kAccumulate ? target[e] + tile[e] : tile[e];
}

// oihw [O,I,KH,KW], packed [O,KH,KW,J]; `channels` of J are gone through.
Filters filters_of(const Tensor& oihw, const Tensor& packed, std::int64_t channels) {
    const Shape &a = oihw.shape, &b = packed.shape;
    QSTEP_CHECK(
        a.rank() == 4 && b.rank() == 4 && a[0] == b[0] && a[2] == b[1] && a[3] == b[2] && a[1] <= b[3],
        "weights {} do not fit the layout {}", a.to_string(), b.to_string());
    const std::int64_t taps = a[2] * a[3];
    QSTEP_CHECK(a.count() > 0 && taps <= kTileElements, "weights {}", a.to_string());
    const std::int64_t tile = std::min(channels, kTileElements / taps);
    return {a[0],
            static_cast<int>(a[1]),
            static_cast<int>(b[3]),
            static_cast<int>(taps),
            static_cast<int>(tile),
            static_cast<int>((channels + tile - 1) / tile)};
}

LaunchShape shape_of(const Filters& filters) {
    return {filters.outputs * filters.tiles, kThreads,
            static_cast<std::size_t>(filters.tile * filters.taps) * sizeof(float)};
}

}  // namespace

void pack_weights(Context& context, const Tensor& to, const Tensor& from) {
    const Filters filters = filters_of(from, to, to.shape.rank() == 4 ? to.shape[3] : 0);
    cpu::with_float_type(to.dtype, "packed weights", [&]<typename T>(T) {
        launch(context, "pack_weights", pack_kernel<T>, shape_of(filters), filters, to.as<T>(),
               from.as<float>());
    });
}

void unpack_weight_gradient(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    if (mode == GradMode::skip) return;
    const Filters filters = filters_of(to, from, to.shape.rank() == 4 ? to.shape[1] : 0);
    const auto kernel = mode == GradMode::accumulate ? unpack_kernel<true> : unpack_kernel<false>;
    launch(context, "unpack_weight_gradient", kernel, shape_of(filters), filters, to.as<float>(),
           from.as<float>());
}

}  // namespace qstep::cuda

// Bias addition and its gradient, for layers with a bias (AlexNet, Simple, fully connected ones).
//
// add_channel_bias reads and writes each element once: 8 bytes (f32) or 4 (bf16) and one addition an element;
// AlexNet's first output, [128,16,16,64] in bf16, takes 2.0 us at 4.3 TB/s.
// channel_sums reads each element once: 4 or 2 bytes and one addition; 1.0 us for the same tensor, and both
// launches cost about as much.
#include <algorithm>

#include "engine/error.h"
#include "kernels/cuda/channel_bias.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // channels of one block of channel_sums: a warp reads neighbours
constexpr int kRows = kThreads / kColumns;
// Rows of one block, if that leaves no more than kMaxPartials of them.
constexpr std::int64_t kRowsPerBlock = 64;
constexpr std::int64_t kMaxPartials = 256;
constexpr std::int64_t kMaxBlocks = 4096;

template <typename T, typename Bias>
__global__ void __launch_bounds__(kThreads)
    add_bias_kernel(T* y, const Bias* bias, std::int64_t count, std::int64_t channels) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
    wait_for_predecessor();
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += stride)
        y[i] = from_float<T>(to_float(y[i]) + to_float(bias[i % channels]));
}

// Block b: rows of partial b / tiles, channels of tile b % tiles. partials [partials, channels].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    partial_sums_kernel(float* partials, const T* dy, std::int64_t rows, std::int64_t channels,
                        std::int64_t rows_per_block) {
    QSTEP_SHARED float of_rows[kRows][kColumns];
    const std::int64_t tiles = (channels + kColumns - 1) / kColumns;
    const std::int64_t partial = blockIdx.x / tiles;
    const int column = static_cast<int>(threadIdx.x) % kColumns,
              row = static_cast<int>(threadIdx.x) / kColumns;
    const std::int64_t channel = blockIdx.x % tiles * kColumns + column;
    const std::int64_t end = (partial + 1) * rows_per_block < rows ? (partial + 1) * rows_per_block : rows;
    wait_for_predecessor();
    float sum = 0;
    if (channel < channels)
        for (std::int64_t r = partial * rows_per_block + row; r < end; r += kRows)
            sum += to_float(dy[r * channels + channel]);
    of_rows[row][column] = sum;
    __syncthreads();
    if (row != 0 || channel >= channels) return;
    for (int r = 1; r < kRows; ++r) sum += of_rows[r][column];
    partials[partial * channels + channel] = sum;
}

__global__ void __launch_bounds__(kThreads)
    finish_sums_kernel(float* sums, const float* partials, std::int64_t count, std::int64_t channels,
                       bool accumulate) {
    const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    wait_for_predecessor();
    if (channel >= channels) return;
    double sum = 0;
    for (std::int64_t p = 0; p < count; ++p) sum += static_cast<double>(partials[p * channels + channel]);
    sums[channel] = (accumulate ? sums[channel] : 0.0f) + static_cast<float>(sum);
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

std::int64_t rows_per_block(std::int64_t rows) {
    return std::max(kRowsPerBlock, ceil_div(rows, kMaxPartials));
}

template <typename Use>
void with_type(const Tensor& tensor, Use&& use) {
    if (tensor.dtype == DType::bf16) return use(tensor.as<bf16>());
    use(tensor.as<float>());
}

}  // namespace

void add_channel_bias(Context& context, const Tensor& y, const Tensor& bias) {
    const std::int64_t count = y.count(), channels = bias.count();
    QSTEP_CHECK(channels > 0 && count % channels == 0, "a bias of {} channels for {}", channels,
                y.shape.to_string());
    with_type(y, [&]<typename T>(T* to) {
        with_type(bias, [&]<typename Bias>(Bias* from) {
            launch(context, "add_channel_bias", add_bias_kernel<T, Bias>,
                   {std::min(ceil_div(count, kThreads), kMaxBlocks), kThreads}, to, from, count, channels);
        });
    });
}

std::size_t channel_sums_bytes(std::int64_t rows, std::int64_t channels) {
    return static_cast<std::size_t>(ceil_div(rows, rows_per_block(rows)) * channels) * sizeof(float);
}

void channel_sums(Context& context, const Tensor& sums, GradMode mode, const Tensor& dy, void* scratch) {
    if (mode == GradMode::skip) return;
    const std::int64_t channels = sums.count();
    QSTEP_CHECK(channels > 0 && dy.count() % channels == 0, "sums of {} channels of {}", channels,
                dy.shape.to_string());
    const std::int64_t rows = dy.count() / channels, per_block = rows_per_block(rows);
    const std::int64_t count = ceil_div(rows, per_block);
    auto* partials = static_cast<float*>(scratch);
    with_type(dy, [&]<typename T>(T* from) {
        launch(context, "channel_sums", partial_sums_kernel<T>,
               {count * ceil_div(channels, kColumns), kThreads}, partials, from, rows, channels, per_block);
    });
    launch(context, "channel_sums_finish", finish_sums_kernel, {ceil_div(channels, kThreads), kThreads},
           sums.as<float>(), partials, count, channels, mode == GradMode::accumulate);
}

}  // namespace qstep::cuda

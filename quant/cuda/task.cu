// The kernels that all codecs share: the sum of the spreads, 8 bytes and an addition each, and a stream's
// header of 64 bytes. 64 M elements in buckets of 512 have 8,192 spreads, 15 ns at 4.3 TB/s, so either costs
// a launch. Where each bucket has a spread of its own (`smart`) there are 131,072 or 1 MB, for which one
// block should take some tens of microseconds; the fit before it takes 20 ms (quant/cuda/smart.cu).
#include "quant/cuda/task.cuh"

#include "kernels/cuda/device/vector.cuh"
#include "quant/cuda/block_group.cuh"
#include "quant/stream.h"

namespace qstep::quant::cuda {

namespace {

constexpr int kTotalThreads = static_cast<int>(kSumLanes);

// One block. 8 bytes a spread.
__global__ void __launch_bounds__(kTotalThreads)
    total_kernel(const double* spreads, std::int64_t count, std::int64_t run, double* variance) {
    QSTEP_SHARED BlockGroup::Storage storage;
    const BlockGroup group(storage);
    const std::int64_t runs = (count + run - 1) / run;
    qstep::cuda::wait_for_predecessor();
    const double total = group.sum(runs, [=](std::int64_t i) {
        const std::int64_t first = i * run, end = first + run < count ? first + run : count;
        double sum = 0;
        for (std::int64_t at = first; at < end; ++at) sum += spreads[at];
        return sum;
    });
    // One NaN for all devices.
    if (group.rank() == 0) *variance = total == total ? total : std::numeric_limits<double>::quiet_NaN();
}

__global__ void stream_header_kernel(StreamHeaderWords words, const std::int64_t* step, std::uint32_t* to) {
    const int i = static_cast<int>(threadIdx.x);
    qstep::cuda::wait_for_predecessor();
    if (i >= kStreamHeaderBytes / 4) return;
    to[i] = i == kStepWord ? static_cast<std::uint32_t>(*step) : words.word[i];
}

}  // namespace

Task make_task(const CodecSettings& settings, const std::int64_t* seed, const Buckets& buckets,
               const Tensor& in, const Tensor& step, const Tensor& variance) {
    QSTEP_CHECK(in.count() == buckets.elements, "the codec was made for {} elements, got {}",
                buckets.elements, in.count());
    check_tensor(step, "step", DType::i64, {1});
    check_tensor(variance, "variance", DType::f64, {1});
    const float* from = in.as<float>();
    return {from,
            buckets,
            parameters_of(settings),
            seed,
            step.as<std::int64_t>(),
            rounds_to_nearest(settings),
            qstep::cuda::aligned_for_vectors(from)};
}

Task decoding_task(const CodecSettings& settings, const Buckets& buckets, const std::uint8_t* stream) {
    const auto* seed = reinterpret_cast<const std::int64_t*>(stream + kSeedWord * 4);
    // The word behind the step's is 0.
    const auto* step = reinterpret_cast<const std::int64_t*>(stream + kStepWord * 4);
    return {nullptr, buckets, parameters_of(settings), seed, step, false, false};
}

void write_stream_header(Context& context, const GradientCodec& codec, std::uint8_t* stream,
                         const std::int64_t* step) {
    qstep::cuda::launch(context, "stream header", stream_header_kernel, {1, kWarp},
                        header_words_of(codec.settings(), codec.element_count(), 0), step,
                        reinterpret_cast<std::uint32_t*>(stream));
}

void write_total(Context& context, const double* spreads, std::int64_t count, std::int64_t run,
                 const Tensor& variance) {
    qstep::cuda::launch(context, "codec variance", total_kernel, {1, kTotalThreads}, spreads, count, run,
                        variance.as<double>());
}

}  // namespace qstep::quant::cuda

// `none`: the identity, which still looks for numbers that are not finite; and the search for the first of
// them. 8 bytes (the search: 4) and a comparison an element: 64 M elements take 125 us (62 us) at 4.3 TB/s.
#include "quant/cuda/block_group.cuh"
#include "quant/cuda/codecs.h"
#include "quant/cuda/sink_codec.cuh"

#include "engine/backend.h"

namespace qstep::quant::cuda {

namespace {

constexpr int kThreads = 256;
/// Of a block and a thread.
constexpr std::int64_t kBlockElements = kChunk;
constexpr int kThreadQuads = static_cast<int>(kBlockElements) / 4 / kThreads;

/// Elements e .. e + kCount - 1 into the sink; whether all are finite.
template <int kCount, typename Sink>
__device__ bool pass(const float (&x)[kCount], std::int64_t e, const Sink& sink) {
    bool finite = true;
#pragma unroll
    for (int c = 0; c < kCount; ++c) finite = finite && fabsf(x[c]) <= std::numeric_limits<float>::max();
    sink.template put<kCount>(e, x, sink.template fetch<kCount>(e));
    return finite;
}

/// Writes NaN to spreads[block] where the block's elements are not all finite, else 0; spreads may be absent.
template <typename Sink>
__global__ void __launch_bounds__(kThreads)
    copy_kernel(const float* in, std::int64_t count, bool vectors, Sink stored_sink, double* spreads) {
    qstep::cuda::wait_for_predecessor();
    const Sink sink = stored_sink.ready();
    const std::int64_t begin = blockIdx.x * kBlockElements;
    const int thread = static_cast<int>(threadIdx.x);
    bool finite = true;
    if (vectors && sink.vectors() && begin + kBlockElements <= count) {
        float x[kThreadQuads][4];
#pragma unroll
        for (int v = 0; v < kThreadQuads; ++v) load_floats(x[v], in + begin + 4 * (thread + v * kThreads));
#pragma unroll
        for (int v = 0; v < kThreadQuads; ++v)
            finite &= pass(x[v], begin + 4 * (thread + v * kThreads), sink);
    } else {
        for (int i = thread; i < kBlockElements && begin + i < count; i += kThreads) {
            const float x[1] = {in[begin + i]};
            finite &= pass(x, begin + i, sink);
        }
    }
    const bool all = __syncthreads_and(finite);
    if (thread == 0 && spreads != nullptr)
        spreads[blockIdx.x] = all ? 0.0 : std::numeric_limits<double>::quiet_NaN();
}

__global__ void __launch_bounds__(kThreads)
    first_non_finite_kernel(const float* x, std::int64_t n, unsigned long long* first) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
    qstep::cuda::wait_for_predecessor();
#pragma unroll 8
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n; i += stride)
        if (!(fabsf(x[i]) <= std::numeric_limits<float>::max()))
            atomicMin(first, static_cast<unsigned long long>(i));
}

class NoneCodec : public SinkCodec<NoneCodec> {
    friend SinkCodec<NoneCodec>;

  public:
    NoneCodec(Context& context, const CodecSettings& settings, std::int64_t count)
        : SinkCodec(context, settings, {count, -1}) {
        context.workspace().reserve(static_cast<std::size_t>(blocks()) * sizeof(double));
    }

  private:
    std::int64_t blocks() const { return (buckets().elements + kBlockElements - 1) / kBlockElements; }

    void decode_stream(Context& context, const Task& task, const DeviceStream& stream, float* out) {
        copy(context, task, reinterpret_cast<const float*>(stream.bytes + stream.layout.codes_at(0)),
             StoreSink(out), nullptr);
    }

    template <typename Sink>
    void copy(Context& context, const Task& task, const float* in, const Sink& sink, double* spreads) {
        qstep::cuda::launch(context, "none", copy_kernel<Sink>, {blocks(), kThreads}, in,
                            task.buckets.elements, qstep::cuda::aligned_for_vectors(in), sink, spreads);
    }

    template <typename Sink>
    void run(Context& context, const Task& task, const Sink& sink, const Tensor& variance) {
        auto* spreads = static_cast<double*>(
            context.workspace().lend(static_cast<std::size_t>(blocks()) * sizeof(double)));
        if constexpr (Sink::kCodes)
            copy(context, task, task.in, StoreSink(sink.floats()), spreads);
        else
            copy(context, task, task.in, sink, spreads);
        write_total(context, spreads, blocks(), 1, variance);
    }
};

/// Of the word that a context keeps.
struct DeviceWordKey {
    std::uint32_t only = 0;
};

}  // namespace

std::unique_ptr<GradientCodec> make_none(Context& context, const CodecSettings& settings,
                                         std::int64_t count) {
    return std::make_unique<NoneCodec>(context, settings, count);
}

std::int64_t first_non_finite(Context& context, const float* x, std::int64_t n) {
    constexpr std::int64_t kMostBlocks = 1056;
    unsigned long long first = ~0ull;
    const auto make = [&] { return std::make_shared<DeviceWord>(context.device()); };
    auto* found =
        static_cast<unsigned long long*>(context.plans().get<DeviceWord>(DeviceWordKey{}, make).address());
    Backend& device = backend(context.device());
    device.copy_in(context, found, &first, sizeof first);
    const std::int64_t blocks = (n + kThreads - 1) / kThreads;
    qstep::cuda::launch(context, "first non-finite", first_non_finite_kernel,
                        {blocks < kMostBlocks ? blocks : kMostBlocks, kThreads}, x, n, found);
    device.copy_out(context, &first, found, sizeof first);
    return static_cast<std::int64_t>(first);
}

}  // namespace qstep::quant::cuda

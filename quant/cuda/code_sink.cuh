// Packed streams (quant/stream.h) on CUDA: the Sink that takes codes instead of values, and the launch that
// makes values of a stream.
//
// Encoding reads 4 bytes an element and writes bits / 8; decoding the other way round: 64 M elements at 4
// bits take 70 us at 4.3 TB/s.
#pragma once

#include "kernels/cuda/device/vector.cuh"
#include "quant/algorithm.h"
#include "quant/cuda/block_group.cuh"
#include "quant/cuda/task.cuh"
#include "quant/stream.h"

namespace qstep::quant::cuda {

/// Writes the `bits` bytes of eight codes, or as many of them as there are.
__device__ inline void store_packed(std::uint8_t* to, const PackedEight& packed, int bytes) {
    if (bytes % 4 == 0 && reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
        for (int i = 0; i < bytes; i += 4) {
            const std::uint64_t half = i < 8 ? packed.low >> 8 * i : packed.high >> 8 * (i - 8);
            *reinterpret_cast<std::uint32_t*>(to + i) = static_cast<std::uint32_t>(half);
        }
        return;
    }
    for (int i = 0; i < bytes; ++i)
        to[i] = static_cast<std::uint8_t>(i < 8 ? packed.low >> 8 * i : packed.high >> 8 * (i - 8));
}

__device__ inline PackedEight load_packed(const std::uint8_t* from, int bytes) {
    PackedEight packed{0, 0};
    if (bytes % 4 == 0 && reinterpret_cast<std::uintptr_t>(from) % 4 == 0) {
        for (int i = 0; i < bytes; i += 4) {
            const std::uint64_t word = *reinterpret_cast<const std::uint32_t*>(from + i);
            (i < 8 ? packed.low : packed.high) |= word << 8 * (i % 8);
        }
        return packed;
    }
    for (int i = 0; i < bytes; ++i)
        (i < 8 ? packed.low : packed.high) |= std::uint64_t{from[i]} << 8 * (i % 8);
    return packed;
}

/// A stream in device memory.
struct DeviceStream {
    std::uint8_t* bytes;
    StreamLayout layout;
    Parameters parameters;

    __device__ std::uint32_t* header(std::int64_t bucket) const {
        return reinterpret_cast<std::uint32_t*>(bytes + layout.header_at(bucket));
    }
    /// Code `within` of a bucket, a multiple of eight.
    __device__ std::uint8_t* codes(std::int64_t bucket, std::int64_t within) const {
        return bytes + layout.codes_at(bucket) + packed_bytes(within, layout.bits);
    }
    /// Eight codes, or the n < 8 that are left, as numbers below `levels` whatever the stream holds.
    __device__ void unpack(std::int64_t bucket, std::int64_t within, int n, std::uint32_t (&index)[8]) const {
        const PackedEight packed =
            load_packed(codes(bucket, within), static_cast<int>(packed_bytes(n, layout.bits)));
        std::uint64_t half[2];
        unpack_eight(packed, layout.bits, half[0], half[1]);
        const auto top = static_cast<std::uint32_t>(parameters.levels - 1);
#pragma unroll
        for (int c = 0; c < 8; ++c) {
            const auto code = static_cast<std::uint32_t>(half[c / 4] >> 16 * (c % 4) & 0xffffu);
            index[c] = code < top ? code : top;
        }
    }
    /// index(i), 0 <= i < n, to the codes from `within` on; thread `rank` of `size`.
    template <typename F>
    __device__ void pack(std::int64_t bucket, std::int64_t within, std::int64_t n, std::int64_t rank,
                         std::int64_t size, F index) const {
        for (std::int64_t i = 8 * rank; i < n; i += 8 * size) {
            std::uint64_t half[2] = {0, 0};
            const int count = n - i < 8 ? static_cast<int>(n - i) : 8;
#pragma unroll
            for (int c = 0; c < 8; ++c)
                if (c < count) half[c / 4] |= std::uint64_t{index(i + c)} << 16 * (c % 4);
            store_packed(codes(bucket, within + i), pack_eight(half[0], half[1], layout.bits),
                         static_cast<int>(packed_bytes(count, layout.bits)));
        }
    }
};

/// Checks the stream of a codec.
inline DeviceStream device_stream(const GradientCodec& codec, const Tensor& stream) {
    check_tensor(stream, "stream", DType::u8, {codec.stream_bytes()});
    auto* bytes = stream.as<std::uint8_t>();
    QSTEP_CHECK(qstep::cuda::aligned_for_vectors(bytes), "the stream is not aligned to 16 bytes");
    return {bytes, stream_layout(codec.settings(), codec.element_count()), parameters_of(codec.settings())};
}

/// out[i] = index keeps the index in the bits of x[i].
struct IndexBits {
    struct Element {
        float& x;
        __device__ void operator=(std::uint32_t index) const { x = std::bit_cast<float>(index); }
    };
    float* x;
    __device__ Element operator[](std::int64_t i) const { return {x[i]}; }
};

class CodeSink {
  public:
    static constexpr bool kCodes = true;

    explicit CodeSink(const DeviceStream& stream) : stream_(stream) {}

    __device__ const CodeSink& ready() const { return *this; }
    static __device__ bool vectors() { return false; }
    /// For `none`, whose codes are floats.
    float* floats() const { return reinterpret_cast<float*>(stream_.bytes + stream_.layout.codes_at(0)); }

    /// Rounds n elements, from element `within` of the bucket on, and writes their codes; x, shared memory of
    /// the block, is overwritten. Returns the spread.
    template <typename Algorithm>
    __device__ double round(BlockGroup& group, const typename Algorithm::Fit& fit, std::int64_t bucket,
                            std::int64_t within, float* x, std::int64_t n, const Draws& draws) const {
        const IndexStore<Algorithm, IndexBits> store{typename Algorithm::Decoder(fit), {x}};
        const double spread = round_bucket<Algorithm>(group, fit, store, x, n, draws);
        group.barrier();
        put_codes(bucket, within, n, group.rank(), group.size(),
                  [=](std::int64_t i) { return std::bit_cast<std::uint32_t>(x[i]); });
        return spread;
    }
    template <typename F>
    __device__ void put_codes(std::int64_t bucket, std::int64_t within, std::int64_t n, std::int64_t rank,
                              std::int64_t size, F index) const {
        stream_.pack(bucket, within, n, rank, size, index);
    }
    /// word(i) for each word of the bucket's header.
    template <typename F>
    __device__ void put_header(std::int64_t bucket, std::int64_t rank, std::int64_t size, F word) const {
        for (std::int64_t i = rank; i < stream_.layout.header_words; i += size)
            stream_.header(bucket)[i] = word(i);
    }

  private:
    DeviceStream stream_;
};

/// Rounds n elements in shared memory x, from element `begin` of the gradient on, `within` elements into the
/// bucket, into a Sink of values or codes.
template <typename Algorithm, typename Sink>
__device__ double round_into(BlockGroup& group, const typename Algorithm::Fit& fit, const Sink& sink,
                             std::int64_t bucket, std::int64_t within, std::int64_t begin, float* x,
                             std::int64_t n, const Draws& draws) {
    if constexpr (Sink::kCodes) {
        if (within == 0)
            sink.put_header(bucket, group.rank(), group.size(),
                            [&](std::int64_t i) { return bucket_header_word<Algorithm>(fit, i); });
        return sink.template round<Algorithm>(group, fit, bucket, within, x, n, draws);
    } else {
        return round_to_values<Algorithm>(group, fit, sink.to(begin), x, n, draws);
    }
}

constexpr int kDecodeThreads = 256;

/// A thread makes eight values, or what is left of a bucket.
template <typename Algorithm>
__global__ void __launch_bounds__(kDecodeThreads)
    decode_kernel(DeviceStream stream, float* out, bool vectors, std::int64_t groups) {
    const std::int64_t item = blockIdx.x * std::int64_t{kDecodeThreads} + threadIdx.x;
    const Buckets& buckets = stream.layout.buckets;
    const std::int64_t bucket = item / groups, within = item % groups * 8;
    qstep::cuda::wait_for_predecessor();
    if (bucket >= buckets.count() || within >= buckets.length(bucket)) return;
    const std::int64_t rest = buckets.length(bucket) - within;
    const int n = rest < 8 ? static_cast<int>(rest) : 8;
    std::uint32_t index[8];
    stream.unpack(bucket, within, n, index);
    float values[2][4];
    const std::uint32_t* words = stream.header(bucket);
    const bool finite = !is_not_a_number<Algorithm>(words, stream.parameters);
    const typename Algorithm::Decoder decoder(words, stream.parameters);
#pragma unroll
    for (int c = 0; c < 8; ++c)
        values[c / 4][c % 4] = finite ? decoder.value(decoder.code(index[c])) : kNotANumber;
    float* to = out + buckets.begin(bucket) + within;
    if (n == 8 && vectors && (buckets.begin(bucket) + within) % 4 == 0) {
        qstep::cuda::store_floats(to, values[0]);
        qstep::cuda::store_floats(to + 4, values[1]);
    } else {
#pragma unroll
        for (int c = 0; c < 8; ++c)
            if (c < n) to[c] = values[c / 4][c % 4];
    }
}

template <typename Algorithm>
void launch_decode(Context& context, const char* name, const DeviceStream& stream, float* out) {
    const std::int64_t groups = (stream.layout.buckets.size + 7) / 8,
                       items = groups * stream.layout.buckets.count();
    qstep::cuda::launch(context, name, decode_kernel<Algorithm>,
                        {(items + kDecodeThreads - 1) / kDecodeThreads, kDecodeThreads}, stream, out,
                        qstep::cuda::aligned_for_vectors(out), groups);
}

}  // namespace qstep::quant::cuda

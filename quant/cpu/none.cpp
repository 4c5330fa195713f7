// `none`: the identity, which still looks for numbers that are not finite; and the search for the first of
// them.
#include <omp.h>

#include <cstring>

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::quant::cpu {

namespace {

#define QSTEP_FINITE_VARIANT(isa, attributes)                                \
    attributes bool finite_##isa(const float* x, std::int64_t n) {           \
        SimdGroupOf<Isa::isa> group;                                         \
        return group.extent(n, [=](std::int64_t i) { return x[i]; }).finite; \
    }
QSTEP_FOR_EACH_ISA(QSTEP_FINITE_VARIANT)
#undef QSTEP_FINITE_VARIANT

using Finite = bool (*)(const float*, std::int64_t);

Finite finite_for(Isa isa) {
    return isa == Isa::avx512 ? finite_avx512 : isa == Isa::avx2 ? finite_avx2 : finite_baseline;
}

class NoneCodec : public GradientCodec {
  public:
    NoneCodec(const CodecSettings& settings, std::int64_t count, Isa isa)
        : GradientCodec(settings, count), finite_(finite_for(isa)), count_(count) {}

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const Call call = begin_call(context, settings(), count_, out, in, step, variance);
        bool finite = true;
#pragma omp parallel for schedule(static) num_threads(call.threads) reduction(&& : finite)
        for (std::int64_t begin = 0; begin < count_; begin += kChunk) {
            const std::int64_t n = std::min(kChunk, count_ - begin);
            finite = finite && finite_(call.in + begin, n);
            if (call.out != call.in)
                std::memcpy(call.out + begin, call.in + begin, static_cast<std::size_t>(n) * sizeof(float));
        }
        *variance.as<double>() = finite ? 0.0 : std::numeric_limits<double>::quiet_NaN();
    }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        const auto number = static_cast<std::uint32_t>(*step.as<std::int64_t>());
        const StreamCall to = begin_encoding(*this, stream, number);
        quantize(context, {to.bytes + to.layout.codes_at(0), DType::f32, {count_}}, in, step, variance);
    }

    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        const StreamCall from = begin_decoding(*this, out, stream);
        const std::uint8_t* values = from.bytes + from.layout.codes_at(0);
        auto* to = reinterpret_cast<std::uint8_t*>(out.as<float>());
        const std::int64_t bytes = count_ * std::int64_t{sizeof(float)};
#pragma omp parallel for schedule(static) num_threads(context.threads())
        for (std::int64_t begin = 0; begin < bytes; begin += kChunk)
            std::memcpy(to + begin, values + begin,
                        static_cast<std::size_t>(std::min(kChunk, bytes - begin)));
    }

  private:
    Finite finite_;
    std::int64_t count_;
};

}  // namespace

std::unique_ptr<GradientCodec> make_none(Context&, const CodecSettings& settings, std::int64_t count,
                                         Isa isa) {
    return std::make_unique<NoneCodec>(settings, count, isa);
}

std::int64_t first_non_finite(Context& context, const float* x, std::int64_t n) {
    const Finite finite = finite_for(best_isa());
    std::int64_t first_chunk = n;
#pragma omp parallel for schedule(static) num_threads(context.threads()) reduction(min : first_chunk)
    for (std::int64_t begin = 0; begin < n; begin += kChunk)
        if (begin < first_chunk && !finite(x + begin, std::min(kChunk, n - begin))) first_chunk = begin;
    for (std::int64_t i = first_chunk; i < n; ++i)
        if (!finite(x + i, 1)) return i;
    return -1;
}

}  // namespace qstep::quant::cpu

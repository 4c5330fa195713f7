// `none`: the identity, which still looks for numbers that are not finite; and the search for the first of
// them.
#include <omp.h>

#include <cstring>
#include <vector>

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"
#include "quant/formulas.h"

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
        : GradientCodec(settings), finite_(finite_for(isa)), count_(count) {}

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

  private:
    Finite finite_;
    std::int64_t count_;
};

}  // namespace

std::unique_ptr<GradientCodec> make_none(Context&, const CodecSettings& settings, std::int64_t count,
                                         Isa isa) {
    return std::make_unique<NoneCodec>(settings, count, isa);
}

std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count,
                                    Isa isa) {
    switch (settings.kind) {
        case CodecKind::none:
            return make_none(context, settings, count, isa);
        case CodecKind::smart:
            return make_smart(context, settings, count, isa);
        case CodecKind::hadamard:
            return make_hadamard(context, settings, count, isa);
        default:
            return with_formula(settings, [&]<typename Tag>(Tag) {
                return make_formula<typename Tag::Algorithm>(context, settings, count, isa);
            });
    }
}

Call begin_call(Context& context, const CodecSettings& settings, std::int64_t count, const Tensor& out,
                const Tensor& in, const Tensor& step, const Tensor& variance) {
    const float* from = in.as<float>();
    float* to = out.as<float>();
    QSTEP_CHECK(in.count() == count && out.count() == count,
                "the codec was made for {} elements, got {} and {}", count, in.count(), out.count());
    QSTEP_CHECK(to == from || to + count <= from || from + count <= to, "out and in overlap in part");
    check_tensor(step, "step", DType::i64, {1});
    check_tensor(variance, "variance", DType::f64, {1});
    const auto number = static_cast<std::uint32_t>(*step.as<std::int64_t>());
    const Draws draws{{settings.seed, Purpose::rounding, number}, 0, rounds_to_nearest(settings)};
    return {to, from, number, draws, context.threads(), nullptr};
}

double total_of(const std::vector<double>& spreads) {
    const double* spread = spreads.data();
    return SimdGroup::sum(static_cast<std::int64_t>(spreads.size()),
                          [=](std::int64_t i) { return spread[i]; });
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

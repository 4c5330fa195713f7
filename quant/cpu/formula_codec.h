// Makes a CPU codec of an algorithm that needs no scratch memory.
#pragma once

#include "quant/cpu/bucket_codec.h"
#include "quant/cpu/codecs.h"

namespace qstep::quant::cpu {

/// The algorithm's steps compiled for one instruction set.
template <typename Algorithm>
BucketKernels<Algorithm> formula_kernels(Isa isa);

template <typename Algorithm>
std::unique_ptr<GradientCodec> make_formula(Context& context, const CodecSettings& settings,
                                            std::int64_t count, Isa isa) {
    return std::make_unique<BucketCodec<Algorithm>>(context, settings, count, formula_kernels<Algorithm>(isa),
                                                    nullptr, 0);
}

}  // namespace qstep::quant::cpu

/// Defines make_formula<Type>(). In namespace qstep::quant::cpu.
#define QSTEP_FORMULA_CODEC(Type)                                                                            \
    namespace {                                                                                              \
    namespace of_##Type {                                                                                    \
        using Algorithm = Type;                                                                              \
        QSTEP_BUCKET_KERNELS()                                                                               \
    }                                                                                                        \
    }                                                                                                        \
    template <>                                                                                              \
    BucketKernels<Type> formula_kernels<Type>(Isa isa) {                                                     \
        return of_##Type::kernels_for(isa);                                                                  \
    }                                                                                                        \
    template std::unique_ptr<GradientCodec> make_formula<Type>(Context&, const CodecSettings&, std::int64_t, \
                                                               Isa);

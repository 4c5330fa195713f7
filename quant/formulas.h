// Which algorithm a codec is, for the codecs that are one algorithm without memory of its own: all but none,
// smart and hadamard.
#pragma once

#include "engine/error.h"
#include "quant/codec.h"

namespace qstep::quant {

struct Standard;
struct RandomPoints;
struct Exponential;
template <bool kEuclidean>
struct Qsgd;
struct Sign;
struct Natural;
struct Dorefa;
struct Fixed;

/// Stands for an algorithm that need not be defined where it is named.
template <typename Type>
struct AlgorithmTag {
    using Algorithm = Type;
};

/// f(the tag of the algorithm that these settings ask for).
template <typename F>
auto with_formula(const CodecSettings& settings, F f) {
    switch (settings.kind) {
        case CodecKind::standard:
            return settings.points == Points::random ? f(AlgorithmTag<RandomPoints>())
                                                     : f(AlgorithmTag<Standard>());
        case CodecKind::exponential:
            return f(AlgorithmTag<Exponential>());
        case CodecKind::qsgd:
            return settings.qsgd_norm == Norm::l2 ? f(AlgorithmTag<Qsgd<true>>())
                                                  : f(AlgorithmTag<Qsgd<false>>());
        case CodecKind::terngrad:
            return f(AlgorithmTag<Qsgd<false>>());
        case CodecKind::sign:
            return f(AlgorithmTag<Sign>());
        case CodecKind::natural:
            return f(AlgorithmTag<Natural>());
        case CodecKind::dorefa:
            return f(AlgorithmTag<Dorefa>());
        case CodecKind::fixed:
            return f(AlgorithmTag<Fixed>());
        default:
            QSTEP_CHECK(false, "codec {} is not a formula", static_cast<int>(settings.kind));
    }
}

}  // namespace qstep::quant

#include "quant/cuda/codecs.h"

#include "engine/error.h"

namespace qstep::quant::cuda {

std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count) {
    switch (settings.kind) {
        case CodecKind::none:
            return make_none(context, settings, count);
        case CodecKind::standard:
            return make_standard(context, settings, count);
        case CodecKind::smart:
            return make_smart(context, settings, count);
        case CodecKind::hadamard:
            return make_hadamard(context, settings, count);
        case CodecKind::exponential:
            return make_exponential(context, settings, count);
    }
    QSTEP_CHECK(false, "unknown codec {}", static_cast<int>(settings.kind));
}

}  // namespace qstep::quant::cuda

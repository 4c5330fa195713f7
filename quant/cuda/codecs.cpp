#include "quant/cuda/codecs.h"

#include "quant/formulas.h"

namespace qstep::quant::cuda {

std::unique_ptr<GradientCodec> make(Context& context, const CodecSettings& settings, std::int64_t count) {
    switch (settings.kind) {
        case CodecKind::none:
            return make_none(context, settings, count);
        case CodecKind::smart:
            return make_smart(context, settings, count);
        case CodecKind::hadamard:
            return make_hadamard(context, settings, count);
        default:
            return with_formula(settings, [&]<typename Tag>(Tag) {
                return make_formula<typename Tag::Algorithm>(context, settings, count);
            });
    }
}

}  // namespace qstep::quant::cuda

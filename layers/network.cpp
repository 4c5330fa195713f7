#include "layers/network.h"

#include "layers/basic.h"

namespace qstep {

Network::Network(Context& context, Arena& step_arena, const Model& model, const ParameterStore& store,
                 std::int64_t batch, DType precision, bool training, const DropoutSource& dropout,
                 const Tensor& metrics)
    : store_(store), batch_(batch), tape_(context, step_arena, training) {
    QSTEP_CHECK(batch > 0, "a network needs a batch of at least one image, got {}", batch);
    images_ = tape_.input(precision, {batch, 32, 32, 3});
    labels_ = tape_.input(DType::i32, {batch});
    logits_ = model.build(tape_, images_, dropout);
    loss_ = build_loss(tape_, logits_, labels_, metrics);
    tape_.finish(loss_, {logits_});
}

void Network::forward() {
    store_.refresh_operands(tape_.context());
    tape_.forward();
}

void Network::backward() {
    tape_.backward();
    store_.collect_gradients(tape_.context());
}

}  // namespace qstep

// A model laid out for one batch size: inputs, tape, loss. Training and evaluation, and the partial last
// batch of either, are networks of their own that share the parameters; those that never run at the same time
// share activation memory.
#pragma once

#include "engine/tape.h"
#include "layers/model.h"

namespace qstep {

/// One model at one batch size, on one tape.
class Network {
  public:
    /// Lays the model, whose parameters are in `store`, out. With a measuring arena nothing may be run.
    /// An internal error for a batch below 1.
    /// `metrics` is f64 [2]: sum of losses over images, and right answers; forward() adds to it.
    Network(Context& context, Arena& step_arena, const Model& model, const ParameterStore& store,
            std::int64_t batch, DType precision, bool training, const DropoutSource& dropout,
            const Tensor& metrics);

    /// [N,32,32,3] in the network's precision, NHWC; written by the caller before forward().
    Tensor images() const { return images_->data; }
    /// i32 [N], each in 0..9.
    Tensor labels() const { return labels_->data; }
    /// [N,10] in the network's precision; valid after forward() until any network sharing the arena runs.
    Tensor logits() const { return logits_->data; }
    /// f32 [1], mean over the batch.
    Tensor loss() const { return loss_->data; }
    const Tape& tape() const { return tape_; }
    std::int64_t batch() const { return batch_; }

    /// Runs the whole network: logits(), loss(), metrics. Only launches.
    void forward();
    /// Overwrites every gradient in the parameter store. Training networks only.
    void backward();

  private:
    const ParameterStore& store_;
    std::int64_t batch_;
    Tape tape_;
    Value* images_;
    Value* labels_;
    Value* logits_;
    Value* loss_;
};

}  // namespace qstep

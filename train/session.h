// A model in memory, ready to train and to be evaluated: parameters, optimizer, the networks for whole and
// partial batches, and their captured steps.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/loader.h"
#include "engine/arena.h"
#include "engine/backend.h"
#include "engine/context.h"
#include "layers/model.h"
#include "layers/network.h"
#include "layers/parameters.h"
#include "train/optimizer.h"

namespace qstep {

struct SessionSettings {
    std::string model = "resnet_20";
    DType precision = DType::f32;
    CodecSettings codec;
    SgdSettings sgd;
    std::uint64_t seed = 0;
    bool dropout = true;
    /// The quantized gradient stays readable (Optimizer::applied_gradient); a step may be slower.
    bool keep_quantized = false;
    /// Images a training and an evaluation batch; 0: this session does not train, or not evaluate.
    std::int64_t train_batch = 0, test_batch = 0;
    /// Images in the two data sets, from which follow the sizes of the partial batches.
    std::int64_t train_count = 0, test_count = 0;
};

/// Sums over images, added up in device memory.
struct Sums {
    double loss = 0.0;
    double right = 0.0;
};

class Session {
  public:
    /// Lays everything out and allocates it; afterwards nothing allocates. Parameters have their starting
    /// values. Throws a usage error for an unknown model or bad codec settings.
    Session(Context& context, const SessionSettings& settings);

    /// One step on this batch: forward, backward, quantize, update. `step` keys the random numbers.
    void train(const Batch& batch, std::int64_t step, float learning_rate);
    /// Forward alone, in evaluation mode; adds to evaluation_sums().
    void evaluate(const Batch& batch);

    /// Mean loss of the last training step.
    float loss();
    /// Quantization variance of the last training step.
    double variance();
    /// Empty, or the name of the first parameter whose gradient in the last training step was not finite.
    std::string non_finite_gradient();
    /// Empty, or the name of the first parameter that is not finite.
    std::string non_finite_weight();

    Sums training_sums();
    void set_training_sums(const Sums& sums);
    Sums evaluation_sums();
    void reset_evaluation_sums();

    Context& context() { return context_; }
    ParameterStore& parameters() { return parameters_; }
    Optimizer& optimizer() { return *optimizer_; }
    const StepState& state() const { return state_; }
    /// The training network for batches of this size; throws for any other size.
    Network& training_network(std::int64_t batch);
    /// Bytes of device memory in arenas and workspace.
    std::size_t memory() const;

  private:
    struct Prepared {
        std::unique_ptr<Network> network;
        std::unique_ptr<CapturedStep> step;
    };
    void lay_out();
    Prepared prepare(std::int64_t batch, bool training);
    void capture(Prepared& prepared, bool training);
    void run(Prepared& whole, Prepared& partial, const Batch& batch);
    Prepared& of_size(Prepared& whole, Prepared& partial, std::int64_t batch);
    Sums read_sums(const Tensor& sums);
    Backend& backend() { return qstep::backend(context_.device()); }

    Context& context_;
    SessionSettings settings_;
    ParameterStore parameters_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Optimizer> optimizer_;
    Arena persistent_, activations_;
    StepState state_;
    Tensor training_sums_, evaluation_sums_;
    Prepared train_, train_partial_, test_, test_partial_;
    std::int64_t last_trained_ = 0;  // size of the last training batch
};

}  // namespace qstep

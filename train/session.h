// A model in memory, ready to train and to be evaluated: parameters, optimizer, the networks for whole and
// partial batches, and their captured steps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/resident_set.h"
#include "engine/arena.h"
#include "engine/backend.h"
#include "engine/context.h"
#include "kernels/step_end.h"
#include "layers/model.h"
#include "layers/network.h"
#include "layers/parameters.h"
#include "train/optimizer.h"

namespace qstep {

/// What the layout of a session depends on.
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
    /// Data sets to keep in device memory, where every step finds its own batch; null: batches are handed in.
    /// Read while the session is made.
    const DataSplits* resident = nullptr;
};

/// Sums over images, added up in device memory.
struct Sums {
    double loss = 0.0;
    double right = 0.0;
};

/// What the steps of a session with resident data leave in device memory, since start_epoch().
struct Ledger {
    double loss = 0.0, right = 0.0;       // sums over images
    double variance = 0.0;                // sum of the steps' quantization variances
    std::int64_t fault_step = -1;         // the first step whose loss or gradient was not finite; -1: none
    std::int64_t fault_element = -1;      // the first such element of its gradient; -1: none
    float fault_loss = 0.0f, unused = 0;  // that step's
};

/// Owns the tensors of a run; for one thread.
class Session {
  public:
    /// Lays everything out and allocates it; afterwards nothing allocates. Parameters have their starting
    /// values. Throws a usage error for an unknown model or bad codec settings.
    Session(Context& context, const SessionSettings& settings);

    /// One step on this batch: forward, backward, quantize, update. `step` keys the random numbers.
    /// An internal error for a batch of a size that is not laid out, and where data are resident.
    void train(const Batch& batch, std::int64_t step, float learning_rate);
    /// Forward alone, in evaluation mode; adds to evaluation_sums().
    void evaluate(const Batch& batch);

    /// The same for resident data. The next step is batch `batch` of `epoch`; `rates` holds the learning rate
    /// of every batch of the epoch; sums go on from `ledger`.
    void start_epoch(std::int64_t epoch, std::int64_t batch, std::span<const float> rates,
                     const Ledger& ledger);
    /// Begins the next steps of the epoch, at least one and at most `most`, all of one batch size; returns
    /// how many. Does not wait for them.
    std::int64_t train_next(std::int64_t most);
    /// Waits for the steps begun.
    Ledger ledger();
    /// evaluate_next() begins with the first batch of the test images, and adds to evaluation_sums(); it
    /// returns the batch's size, 0 behind the last one.
    void start_evaluation();
    /// As above.
    std::int64_t evaluate_next();

    /// Mean loss of the last training step.
    float loss();
    /// Quantization variance of the last training step.
    double variance();
    /// Of the last training step, to the host: its gradient, and what was applied of it; [parameter_count]
    /// each. Where a step leaves no quantized gradient, the codec runs again on the same draws. Changes
    /// nothing that a later step reads. Not before the first step.
    std::vector<float> gradient();
    /// A copy of the gradient that the last step applied, after quantization, flat in PyTorch's order.
    std::vector<float> applied_gradient();
    /// Empty, or the name of the first parameter whose gradient in the last training step was not finite.
    std::string non_finite_gradient();
    /// Empty, or what of the state is not finite: the first such parameter, else the first parameter's
    /// residual.
    std::string non_finite_state();

    /// Of the training steps since set_training_sums(). Waits for them.
    Sums training_sums();
    /// Training goes on from these sums.
    void set_training_sums(const Sums& sums);
    /// Of the evaluation since its sums were reset. Waits for it.
    Sums evaluation_sums();
    /// Evaluation begins anew.
    void reset_evaluation_sums();

    /// The context it was made with.
    Context& context() { return context_; }
    /// Its state in device memory, to be read and written between steps.
    ParameterStore& parameters() { return parameters_; }
    /// What applies the gradient.
    Optimizer& optimizer() { return *optimizer_; }
    const StepState& state() const { return state_; }
    const SessionSettings& settings() const { return settings_; }
    /// Images in the last training batch.
    std::int64_t last_batch_size() const { return last_trained_; }
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
    /// Steps run once when they are captured, on whatever numbers memory holds: but places in arrays must be
    /// places.
    void make_ready_for_capture();
    Prepared prepare(std::int64_t batch, bool training);
    void capture(Prepared& prepared, bool training, int at_once);
    void make_resident_sets();
    StepEnd step_end(const Network& network) const;
    void run(Prepared& whole, Prepared& partial, const Batch& batch);
    Prepared& of_size(Prepared& whole, Prepared& partial, std::int64_t batch);
    Sums read_sums(const Tensor& sums);
    std::vector<float> to_host(const Tensor& flat);
    Backend& backend() { return qstep::backend(context_.device()); }

    Context& context_;
    SessionSettings settings_;
    ParameterStore parameters_;
    std::unique_ptr<Model> model_;
    std::unique_ptr<Optimizer> optimizer_;
    Arena persistent_, activations_;
    StepState state_;
    std::optional<ResidentSet> train_set_, test_set_;
    std::int64_t next_train_ = 0, next_test_ = 0;  // batches of the resident sets
    Tensor ledger_;                                // u8 [sizeof(Ledger)], the next four are parts of it
    Tensor training_sums_, variance_sum_, fault_, fault_loss_;
    Tensor evaluation_sums_, rates_;
    Prepared train_, train_partial_, test_, test_partial_;
    std::int64_t last_trained_ = 0;  // size of the last training batch
};

}  // namespace qstep

// Where the batches of a run come from, and how far the host follows its steps. On the CPU a loader prepares
// each batch while the one before is trained on, and the host looks at every step. On a GPU the data set lies
// in device memory, steps find their batches themselves, and the host looks once in a while.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/session.h"

namespace qstep {

/// Of the running epoch: sums over images, and over the steps' quantization variances.
struct EpochSums {
    double loss = 0.0, right = 0.0, variance = 0.0;
};

/// Where in an epoch training goes on.
struct EpochStart {
    std::int64_t epoch = 0;
    std::int64_t batch = 0;    // of which the epoch's next step is made
    std::vector<float> rates;  // the learning rate of every batch of the epoch
    EpochSums sums;            // of the steps before `batch`
};

/// A step whose loss or gradient was not finite, or, with error feedback, the sum of gradient and residual.
struct Fault {
    std::int64_t step = 0;  // number, from 0
    std::string parameter;  // the first one whose gradient was not finite; empty: all of it was
    float loss = 0.0f;
};

/// Steps of a session, for one thread. For the same seed all feeds give the same batches.
class Feed {
  public:
    virtual ~Feed() = default;

    /// The next train() makes batch start.batch of start.epoch.
    virtual void start_epoch(const EpochStart& start) = 0;
    /// Runs the next steps of the epoch, at least one and at most `most`; returns how many. All of them have
    /// batches of session.last_batch_size() images.
    virtual std::int64_t train(std::int64_t most) = 0;
    /// Whether train() returns before its steps are done, so that looking costs a wait.
    virtual bool runs_ahead() const = 0;

    /// What the steps since start_epoch() came to.
    struct Look {
        EpochSums sums;
        std::optional<Fault> fault;  // the epoch's first
    };
    /// Waits for the steps that were begun.
    virtual Look look() = 0;

    /// Evaluation over all test images: evaluate_next() takes some and returns how many; 0 after the last.
    /// Adds to session.evaluation_sums(), which start_evaluation() resets.
    virtual void start_evaluation() = 0;
    /// Evaluates the next test images and returns how many; 0 after the last.
    virtual std::int64_t evaluate_next() = 0;
};

/// The feed that suits the session: resident where its data are. Trains and evaluates as the session does;
/// `data` must outlive the feed.
std::unique_ptr<Feed> make_feed(Session& session, const DataSplits& data);

}  // namespace qstep

// A data set in device memory, and the place in its epoch from which captured steps take their batches.
#pragma once

#include <cstdint>
#include <future>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "engine/arena.h"
#include "kernels/batch_assembly.h"

namespace qstep {

/// Its batches are those of a BatchLoader with the same settings, byte for byte.
class ResidentSet {
  public:
    /// Throws as BatchLoader does. The data set is read until upload() is done.
    ResidentSet(const Dataset& dataset, const LoaderSettings& settings);

    /// Memory for images, labels, order and place; called once for each phase of the arena.
    void allocate(Arena& arena);
    /// Copies the data set; the place in it is no batch of any epoch, but safe to gather. Before anything
    /// below.
    void upload(Context& context);

    std::int64_t batches_per_epoch() const {
        return (count_ + settings_.batch_size - 1) / settings_.batch_size;
    }
    /// Smaller for the last one.
    std::int64_t size_of_batch(std::int64_t batch) const;

    /// The next gather() makes batch `first_batch` of this epoch.
    void start(Context& context, std::int64_t epoch, std::int64_t first_batch);
    /// images, labels: as gather_training_batch() wants them, or gather_evaluation_batch() without training.
    /// Only launches; the batch is the one that batch_number() names when the work runs.
    void gather(Context& context, const Tensor& images, const Tensor& labels) const;
    /// i64 [1] in device memory, to be moved on by the step.
    Tensor batch_number() const { return place_.batch; }

  private:
    std::vector<std::int32_t> take_order(std::int64_t epoch);

    const Dataset& dataset_;
    LoaderSettings settings_;
    std::int64_t count_;
    ImageSet set_;
    BatchPlace place_;
    Tensor seed_;
    // The order of the epoch behind the one started, made meanwhile.
    std::future<std::vector<std::int32_t>> next_order_;
    std::int64_t next_epoch_ = -1;
};

}  // namespace qstep

// Prepares batches in a thread of its own while the training thread computes.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "data/dataset.h"
#include "engine/arena.h"
#include "engine/tensor.h"

namespace qstep {

/// What the batches of a data set depend on.
struct LoaderSettings {
    std::int64_t batch_size = 64;
    std::uint64_t seed = 0;
    /// f32 or bf16, for the images.
    DType dtype = DType::f32;
    /// True: a new order each epoch, crop and flip. False: the order of the data set, images as they are.
    bool training = true;
};

/// Throws when the set is empty, the batch size below 1 or the type neither f32 nor bf16.
void check_loader(const Dataset& dataset, const LoaderSettings& settings);

/// Host memory, owned by the loader, valid until its next call of next() or start().
struct Batch {
    Tensor images;  // [n,32,32,3], normalised
    Tensor labels;  // [n] i32
    std::int64_t size() const { return labels.shape[0]; }
};

/// Batch b of an epoch holds images order[b*B .. b*B+n-1], B = batch_size, n = B but for a smaller last
/// batch. With training, order = epoch_order(count, seed, epoch) and each image is cropped by draw_crop(seed,
/// epoch, image): what an image looks like depends on nothing else, and which images share a batch only on B
/// besides. Starting in the middle of an epoch gives the batches that an uninterrupted epoch has from there.
///
/// next() and start() belong to one thread. The data set must outlive the loader and not change.
class BatchLoader {
  public:
    /// Throws as check_loader().
    BatchLoader(const Dataset& dataset, const LoaderSettings& settings);
    /// Stops in the middle of whatever is being prepared.
    ~BatchLoader();
    BatchLoader(const BatchLoader&) = delete;
    BatchLoader& operator=(const BatchLoader&) = delete;

    /// ceil(count / batch_size).
    std::int64_t batches_per_epoch() const { return batches_; }

    /// Drops what is prepared and begins with batch `first_batch` (0..batches_per_epoch()) of this epoch.
    /// `epoch` does not matter without training.
    void start(std::uint32_t epoch, std::int64_t first_batch = 0);

    /// The next batch, or nothing after the last one of the epoch. Throws what the preparing thread threw.
    std::optional<Batch> next();

  private:
    static constexpr std::int64_t kSlots = 3;  // one in use, one ready, one being written

    std::int64_t size_of_batch(std::int64_t batch) const;
    Batch slot_view(std::int64_t batch) const;
    void produce(std::uint32_t epoch, std::int64_t first_batch);
    bool wait_for_slot(std::int64_t batch);
    void stop();

    const Dataset& dataset_;
    LoaderSettings settings_;
    std::int64_t count_;
    std::int64_t batches_;
    Arena memory_;
    std::array<Batch, kSlots> slots_;

    std::mutex mutex_;
    std::condition_variable changed_;
    // Batch numbers: next() returns next_; those below ready_ are written; those below released_ are given
    // back.
    std::int64_t next_ = 0;
    std::int64_t ready_ = 0;
    std::int64_t released_ = 0;
    bool stopping_ = false;
    bool started_ = false;
    std::exception_ptr error_;
    std::thread worker_;
};

}  // namespace qstep

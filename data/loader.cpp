#include "data/loader.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "data/augment.h"
#include "data/epoch_order.h"
#include "engine/error.h"

namespace qstep {

void check_loader(const Dataset& dataset, const LoaderSettings& settings) {
    QSTEP_CHECK(dataset.count() >= 1, "{}: no images", dataset.name);
    QSTEP_CHECK(settings.batch_size >= 1, "batch size {}", settings.batch_size);
    QSTEP_CHECK(settings.dtype == DType::f32 || settings.dtype == DType::bf16, "images cannot be {}",
                name_of(settings.dtype));
}

BatchLoader::BatchLoader(const Dataset& dataset, const LoaderSettings& settings)
    : dataset_(dataset),
      settings_(settings),
      count_(dataset.count()),
      batches_(0),
      memory_(Device{}, "batch loader memory") {
    check_loader(dataset, settings);
    batches_ = (count_ + settings.batch_size - 1) / settings.batch_size;
    const auto allocate_slots = [&] {
        const std::int64_t n = size_of_batch(0);
        for (Batch& slot : slots_) {
            slot.images = memory_.allocate(settings_.dtype, {n, kImageSide, kImageSide, kImageChannels});
            slot.labels = memory_.allocate(DType::i32, {n});
        }
    };
    allocate_slots();
    memory_.commit();
    allocate_slots();
}

BatchLoader::~BatchLoader() {
    stop();
}

std::int64_t BatchLoader::size_of_batch(std::int64_t batch) const {
    return std::min(settings_.batch_size, count_ - batch * settings_.batch_size);
}

Batch BatchLoader::slot_view(std::int64_t batch) const {
    Batch view = slots_[static_cast<std::size_t>(batch % kSlots)];
    const std::int64_t n = size_of_batch(batch);
    view.images.shape = {n, kImageSide, kImageSide, kImageChannels};
    view.labels.shape = {n};
    return view;
}

void BatchLoader::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (worker_.joinable()) worker_.join();
}

void BatchLoader::start(std::uint32_t epoch, std::int64_t first_batch) {
    QSTEP_CHECK(first_batch >= 0 && first_batch <= batches_, "batch {} of {}", first_batch, batches_);
    stop();
    next_ = ready_ = released_ = first_batch;
    stopping_ = false;
    error_ = nullptr;
    started_ = true;
    worker_ = std::thread([this, epoch, first_batch] {
        try {
            produce(epoch, first_batch);
        } catch (...) {
            const std::lock_guard lock(mutex_);
            error_ = std::current_exception();
        }
        changed_.notify_all();
    });
}

/// False when there will be no more need for it.
bool BatchLoader::wait_for_slot(std::int64_t batch) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || batch - released_ < kSlots; });
    return !stopping_;
}

void BatchLoader::produce(std::uint32_t epoch, std::int64_t first_batch) {
    std::vector<std::int32_t> order;
    if (settings_.training) {
        order = epoch_order(count_, settings_.seed, epoch);
    } else {
        order.resize(static_cast<std::size_t>(count_));
        std::iota(order.begin(), order.end(), 0);
    }
    for (std::int64_t b = first_batch; b < batches_; ++b) {
        if (!wait_for_slot(b)) return;
        const Batch to = slot_view(b);
        const auto indices = std::span(order).subspan(static_cast<std::size_t>(b * settings_.batch_size),
                                                      static_cast<std::size_t>(to.size()));
        if (settings_.training)
            assemble_training_batch(to.images, to.labels, dataset_, indices, settings_.seed, epoch);
        else
            assemble_evaluation_batch(to.images, to.labels, dataset_, indices);
        {
            const std::lock_guard lock(mutex_);
            ready_ = b + 1;
        }
        changed_.notify_all();
    }
}

std::optional<Batch> BatchLoader::next() {
    QSTEP_CHECK(started_, "next() before start()");
    std::unique_lock lock(mutex_);
    released_ = next_;
    changed_.notify_all();
    if (next_ == batches_) return std::nullopt;
    changed_.wait(lock, [&] { return ready_ > next_ || error_; });
    if (ready_ <= next_) std::rethrow_exception(error_);
    return slot_view(next_++);
}

}  // namespace qstep

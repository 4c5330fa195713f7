#include "data/resident_set.h"

#include <algorithm>

#include "data/epoch_order.h"
#include "engine/backend.h"
#include "engine/error.h"

namespace qstep {

ResidentSet::ResidentSet(const Dataset& dataset, const LoaderSettings& settings)
    : dataset_(dataset), settings_(settings), count_(dataset.count()) {
    check_loader(dataset, settings);
}

void ResidentSet::allocate(Arena& arena) {
    set_.images = arena.allocate(DType::u8, {count_, kImageBytes});
    set_.labels = arena.allocate(DType::u8, {count_});
    if (settings_.training) {
        place_.order = arena.allocate(DType::i32, {count_});
        place_.epoch = arena.allocate(DType::i64, {1});
        seed_ = arena.allocate(DType::i64, {1});
    }
    place_.batch = arena.allocate(DType::i64, {1});
    place_.batch_size = settings_.batch_size;
}

void ResidentSet::upload(Context& context) {
    Backend& device = backend(context.device());
    device.copy_in(context, set_.images.data, dataset_.images.data(), set_.images.bytes());
    device.copy_in(context, set_.labels.data, dataset_.labels.data(), set_.labels.bytes());
    if (seed_) device.copy_in(context, seed_.data, &settings_.seed, sizeof settings_.seed);
    for (const Tensor& place : {place_.order, place_.epoch, place_.batch})
        if (place) device.fill_zero(context, place.data, place.bytes());
}

std::int64_t ResidentSet::size_of_batch(std::int64_t batch) const {
    return std::min(settings_.batch_size, count_ - batch * settings_.batch_size);
}

std::vector<std::int32_t> ResidentSet::take_order(std::int64_t epoch) {
    const auto make = [count = count_, seed = settings_.seed](std::int64_t of) {
        return epoch_order(count, seed, static_cast<std::uint32_t>(of));
    };
    std::vector<std::int32_t> order = epoch == next_epoch_ ? next_order_.get() : make(epoch);
    next_epoch_ = epoch + 1;
    next_order_ = std::async(std::launch::async, make, next_epoch_);
    return order;
}

void ResidentSet::start(Context& context, std::int64_t epoch, std::int64_t first_batch) {
    QSTEP_CHECK(first_batch >= 0 && first_batch <= batches_per_epoch(), "batch {} of {}", first_batch,
                batches_per_epoch());
    Backend& device = backend(context.device());
    device.copy_in(context, place_.batch.data, &first_batch, sizeof first_batch);
    if (!settings_.training) return;
    const std::vector<std::int32_t> order = take_order(epoch);
    device.copy_in(context, place_.order.data, order.data(), place_.order.bytes());
    device.copy_in(context, place_.epoch.data, &epoch, sizeof epoch);
}

void ResidentSet::gather(Context& context, const Tensor& images, const Tensor& labels) const {
    if (settings_.training)
        gather_training_batch(context, images, labels, set_, place_, seed_);
    else
        gather_evaluation_batch(context, images, labels, set_, place_);
}

}  // namespace qstep

#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>

#include "data/augment.h"
#include "data/epoch_order.h"
#include "data_fixture.h"

namespace qstep {
namespace {

/// All bytes of one batch, assembled here without a loader.
std::vector<std::uint8_t> direct_batch(const Dataset& set, const LoaderSettings& settings,
                                       std::uint32_t epoch, std::int64_t batch,
                                       std::vector<std::int32_t>& labels) {
    std::vector<std::int32_t> order(static_cast<std::size_t>(set.count()));
    std::iota(order.begin(), order.end(), 0);
    if (settings.training) order = epoch_order(set.count(), settings.seed, epoch);
    const std::int64_t n = std::min(settings.batch_size, set.count() - batch * settings.batch_size);
    const auto indices = std::span(order).subspan(static_cast<std::size_t>(batch * settings.batch_size),
                                                  static_cast<std::size_t>(n));
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(n * kImageBytes) * size_of(settings.dtype));
    labels.resize(static_cast<std::size_t>(n));
    const Tensor images = {bytes.data(), settings.dtype, {n, 32, 32, 3}};
    const Tensor label_tensor = {labels.data(), DType::i32, {n}};
    if (settings.training)
        assemble_training_batch(images, label_tensor, set, indices, settings.seed, epoch);
    else
        assemble_evaluation_batch(images, label_tensor, set, indices);
    return bytes;
}

void expect_batch(const Batch& got, const Dataset& set, const LoaderSettings& settings, std::uint32_t epoch,
                  std::int64_t batch) {
    std::vector<std::int32_t> labels;
    const auto bytes = direct_batch(set, settings, epoch, batch, labels);
    ASSERT_EQ(got.images.bytes(), bytes.size());
    EXPECT_EQ(got.images.dtype, settings.dtype);
    EXPECT_EQ(got.images.shape, (Shape{static_cast<std::int64_t>(labels.size()), 32, 32, 3}));
    EXPECT_EQ(got.size(), static_cast<std::int64_t>(labels.size()));
    const auto* data = static_cast<const std::uint8_t*>(got.images.data);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), data)) << "epoch " << epoch << " batch " << batch;
    EXPECT_TRUE(std::equal(labels.begin(), labels.end(), got.labels.as<std::int32_t>()));
}

void expect_epoch(BatchLoader& loader, const Dataset& set, const LoaderSettings& settings,
                  std::uint32_t epoch, std::int64_t first) {
    loader.start(epoch, first);
    for (std::int64_t b = first; b < loader.batches_per_epoch(); ++b) {
        const auto batch = loader.next();
        ASSERT_TRUE(batch.has_value()) << b;
        expect_batch(*batch, set, settings, epoch, b);
    }
    EXPECT_FALSE(loader.next().has_value());
    EXPECT_FALSE(loader.next().has_value());
}

TEST(Loader, EqualsDirectAssemblyForEveryBatch) {
    const Dataset set = random_dataset(101, 1);
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const std::int64_t batch_size : {1, 7, 100, 101, 102, 1000}) {
            for (const bool training : {true, false}) {
                const LoaderSettings settings{batch_size, 3, dtype, training};
                BatchLoader loader(set, settings);
                EXPECT_EQ(loader.batches_per_epoch(), (101 + batch_size - 1) / batch_size);
                for (const std::uint32_t epoch : {0u, 1u}) expect_epoch(loader, set, settings, epoch, 0);
            }
        }
    }
}

TEST(Loader, StartsInTheMiddleOfAnEpoch) {
    const Dataset set = random_dataset(50, 2);
    const LoaderSettings settings{8, 1, DType::f32, true};
    BatchLoader loader(set, settings);
    for (std::int64_t first = 0; first <= loader.batches_per_epoch(); ++first)
        expect_epoch(loader, set, settings, 4, first);
}

TEST(Loader, OneImage) {
    const Dataset set = random_dataset(1, 3);
    const LoaderSettings settings{64, 1, DType::bf16, true};
    BatchLoader loader(set, settings);
    expect_epoch(loader, set, settings, 0, 0);
}

TEST(Loader, ABatchStaysUntilTheNextCall) {
    const Dataset set = random_dataset(60, 4);
    const LoaderSettings settings{4, 1, DType::f32, true};
    BatchLoader loader(set, settings);
    loader.start(0);
    for (std::int64_t b = 0; b < loader.batches_per_epoch(); ++b) {
        const auto batch = loader.next();
        // Long enough for the preparing thread to fill every slot that it may write.
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        expect_batch(*batch, set, settings, 0, b);
    }
}

TEST(Loader, CanBeDroppedOrRestartedAtAnyTime) {
    const Dataset set = random_dataset(64, 5);
    const LoaderSettings settings{2, 1, DType::f32, true};
    { const BatchLoader never_started(set, settings); }
    for (int taken = 0; taken < 40; ++taken) {
        BatchLoader loader(set, settings);
        loader.start(0);
        for (int i = 0; i < taken; ++i) loader.next();
    }
    BatchLoader loader(set, settings);
    for (std::uint32_t epoch = 0; epoch < 20; ++epoch) {
        loader.start(epoch, epoch);
        const auto batch = loader.next();
        ASSERT_TRUE(batch.has_value());
        expect_batch(*batch, set, settings, epoch, epoch);
    }
    expect_epoch(loader, set, settings, 77, 0);
}

TEST(Loader, ErrorsOfTheWorkerReachTheConsumer) {
    Dataset set = random_dataset(32, 6);
    const LoaderSettings settings{4, 1, DType::f32, false};
    BatchLoader loader(set, settings);
    loader.start(0);
    while (loader.next()) {
    }
    const std::vector<std::uint8_t> labels = set.labels;
    set.labels.resize(10);  // images 10 and up are gone behind the loader's back
    loader.start(0);
    EXPECT_EQ(loader.next()->size(), 4);
    EXPECT_EQ(loader.next()->size(), 4);
    EXPECT_THROW(loader.next(), Error);
    EXPECT_THROW(loader.next(), Error);
    set.labels = labels;
    expect_epoch(loader, set, settings, 0, 0);
}

TEST(Loader, RefusesWhatMakesNoSense) {
    const Dataset set = random_dataset(3, 7);
    EXPECT_THROW(BatchLoader(Dataset{}, LoaderSettings{}), Error);
    EXPECT_THROW(BatchLoader(set, LoaderSettings{.batch_size = 0}), Error);
    EXPECT_THROW(BatchLoader(set, LoaderSettings{.dtype = DType::u8}), Error);
    BatchLoader loader(set, LoaderSettings{.batch_size = 2});
    EXPECT_THROW(loader.next(), Error);
    EXPECT_THROW(loader.start(0, -1), Error);
    EXPECT_THROW(loader.start(0, 3), Error);
}

}  // namespace
}  // namespace qstep

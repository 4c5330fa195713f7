// Batches gathered from a data set in device memory are the loader's, byte for byte.
#include "data/epoch_order.h"
#include "data/loader.h"
#include "data_fixture.h"
#include "kernels/batch_assembly.h"

namespace qstep {
namespace {

struct Gathered {
    Gathered(Dataset& set, std::vector<std::int32_t>& order, const LoaderSettings& settings,
             std::int64_t size, std::int64_t epoch, std::int64_t batch)
        : bytes(static_cast<std::size_t>(size * kImageBytes) * size_of(settings.dtype)),
          ids(static_cast<std::size_t>(size)) {
        Context context(Device{}, 2);
        auto seed = static_cast<std::int64_t>(settings.seed);
        const ImageSet images{{set.images.data(), DType::u8, {set.count(), kImageBytes}},
                              {set.labels.data(), DType::u8, {set.count()}}};
        const Tensor ids_of_order =
            order.empty() ? Tensor{}
                          : Tensor{order.data(), DType::i32, {static_cast<std::int64_t>(order.size())}};
        const BatchPlace place{
            ids_of_order, {&epoch, DType::i64, {1}}, {&batch, DType::i64, {1}}, settings.batch_size};
        const Tensor to{bytes.data(), settings.dtype, {size, kImageSide, kImageSide, kImageChannels}};
        const Tensor labels{ids.data(), DType::i32, {size}};
        if (settings.training)
            gather_training_batch(context, to, labels, images, place, {&seed, DType::i64, {1}});
        else
            gather_evaluation_batch(context, to, labels, images, place);
    }
    std::vector<std::byte> bytes;
    std::vector<std::int32_t> ids;
};

TEST(Gather, EqualsTheLoader) {
    Dataset set = random_dataset(45, 1);
    for (const DType dtype : {DType::f32, DType::bf16})
        for (const bool training : {true, false})
            for (const std::int64_t epoch : {0, 5}) {
                const LoaderSettings settings{16, 3, dtype, training};
                BatchLoader loader(set, settings);
                std::vector<std::int32_t> order;
                if (training)
                    order = epoch_order(set.count(), settings.seed, static_cast<std::uint32_t>(epoch));
                loader.start(static_cast<std::uint32_t>(epoch));
                for (std::int64_t b = 0; b < loader.batches_per_epoch(); ++b) {
                    const Batch want = *loader.next();
                    const Gathered got(set, order, settings, want.size(), epoch, b);
                    ASSERT_EQ(got.bytes.size(), want.images.bytes());
                    const auto* images = static_cast<const std::byte*>(want.images.data);
                    EXPECT_TRUE(std::equal(got.bytes.begin(), got.bytes.end(), images));
                    EXPECT_TRUE(std::equal(got.ids.begin(), got.ids.end(), want.labels.as<std::int32_t>()));
                }
            }
}

TEST(Gather, CountersAdvance) {
    Context context(Device{}, 1);
    std::int64_t counters[2] = {3, -1};
    advance_counters(context, {counters, DType::i64, {2}});
    EXPECT_EQ(counters[0], 4);
    EXPECT_EQ(counters[1], 0);
}

TEST(Gather, TensorsThatDoNotFitThrow) {
    Dataset set = random_dataset(3, 1);
    Context context(Device{}, 1);
    std::int64_t zero = 0;
    std::vector<float> pixels(static_cast<std::size_t>(2 * kImageBytes));
    std::vector<std::int32_t> ids(2);
    const ImageSet images{{set.images.data(), DType::u8, {3, kImageBytes}},
                          {set.labels.data(), DType::u8, {3}}};
    const Tensor to{pixels.data(), DType::f32, {2, 32, 32, 3}}, labels{ids.data(), DType::i32, {2}};
    const Tensor at{&zero, DType::i64, {1}};
    EXPECT_THROW(gather_evaluation_batch(context, to, labels, images, {{}, {}, at, 1}), Error);    // 2 > 1
    EXPECT_THROW(gather_training_batch(context, to, labels, images, {{}, {}, at, 2}, at), Error);  // no epoch
    EXPECT_THROW(gather_training_batch(context, to, labels, images, {{}, at, at, 2}, {}), Error);  // no seed
    EXPECT_THROW(gather_evaluation_batch(context, labels, labels, images, {{}, {}, at, 2}), Error);
}

}  // namespace
}  // namespace qstep

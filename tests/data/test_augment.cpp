#include "data/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "data_fixture.h"

namespace qstep {
namespace {

// Values lie in -2.5..2.8 and are the result of four float32 operations, of which the subtraction can cancel:
// the error is that of p/255 and the mean (2^-24 each) over a std of 0.2, and half an ulp of the quotient.
constexpr double kNormalisationTolerance = 1.5e-6;

struct HostBatch {
    explicit HostBatch(std::size_t n, DType dtype)
        : floats(n * kImageBytes), halves(n * kImageBytes), ids(n) {
        const auto rows = static_cast<std::int64_t>(n);
        void* at =
            dtype == DType::f32 ? static_cast<void*>(floats.data()) : static_cast<void*>(halves.data());
        images = {at, dtype, {rows, 32, 32, 3}};
        labels = {ids.data(), DType::i32, {rows}};
    }
    std::vector<float> floats;
    std::vector<bf16> halves;
    std::vector<std::int32_t> ids;
    Tensor images, labels;
};

/// The pipeline written out: pad, cut, mirror, scale, normalise, in double.
double reference_pixel(const Dataset& set, std::int64_t index, const Crop& crop, int y, int x, int c) {
    constexpr double kMean[3] = {0.4914, 0.4822, 0.4465}, kStd[3] = {0.2023, 0.1994, 0.2010};
    std::array<std::array<int, 40>, 40> padded{};
    for (std::size_t r = 0; r < 32; ++r)
        for (std::size_t s = 0; s < 32; ++s)
            padded[r + 4][s + 4] = set.image(index)[static_cast<std::size_t>(c) * 1024 + r * 32 + s];
    const int column = crop.flip ? 31 - x : x;
    const int pixel =
        padded[static_cast<std::size_t>(y + crop.top)][static_cast<std::size_t>(column + crop.left)];
    return (pixel / 255.0 - kMean[c]) / kStd[c];
}

void expect_image(const float* got, const Dataset& set, std::int64_t index, const Crop& crop) {
    for (int y = 0; y < 32; ++y)
        for (int x = 0; x < 32; ++x)
            for (int c = 0; c < 3; ++c)
                ASSERT_NEAR(got[(y * 32 + x) * 3 + c], reference_pixel(set, index, crop, y, x, c),
                            kNormalisationTolerance)
                    << "image " << index << " top " << crop.top << " left " << crop.left << " flip "
                    << crop.flip << " at " << y << ',' << x << ',' << c;
}

TEST(Augment, TrainingBatchEqualsThePipelineInDouble) {
    const Dataset set = random_dataset(40, 1);
    std::vector<std::int32_t> indices(40);
    std::iota(indices.rbegin(), indices.rend(), 0);
    HostBatch batch(40, DType::f32);
    assemble_training_batch(batch.images, batch.labels, set, indices, 5, 2);
    for (std::size_t i = 0; i < 40; ++i) {
        EXPECT_EQ(batch.ids[i], set.labels[static_cast<std::size_t>(indices[i])]);
        expect_image(batch.floats.data() + i * kImageBytes, set, indices[i], draw_crop(5, 2, indices[i]));
    }
}

TEST(Augment, EvaluationBatchIsTheImageItself) {
    const Dataset set = random_dataset(3, 2);
    const std::vector<std::int32_t> indices = {2, 0, 2, 1};
    HostBatch batch(4, DType::f32);
    assemble_evaluation_batch(batch.images, batch.labels, set, indices);
    for (std::size_t i = 0; i < 4; ++i)
        expect_image(batch.floats.data() + i * kImageBytes, set, indices[i], {4, 4, false});
}

TEST(Augment, PaddingIsBlackBeforeNormalisation) {
    Dataset set = random_dataset(200, 3);
    std::fill(set.images.begin(), set.images.end(), std::uint8_t{255});
    std::int32_t index = 0;
    while (draw_crop(1, 0, index).top != 0) ++index;
    HostBatch batch(1, DType::f32);
    assemble_training_batch(batch.images, batch.labels, set, std::span(&index, 1), 1, 0);
    EXPECT_NEAR(batch.floats[0], -0.4914 / 0.2023, kNormalisationTolerance);
    EXPECT_NEAR(batch.floats[1], -0.4822 / 0.1994, kNormalisationTolerance);
    EXPECT_NEAR(batch.floats[2], -0.4465 / 0.2010, kNormalisationTolerance);
}

TEST(Augment, Bf16IsTheRoundedF32) {
    const Dataset set = random_dataset(9, 4);
    const std::vector<std::int32_t> indices = {8, 7, 6, 5, 4, 3, 2, 1, 0};
    HostBatch full(9, DType::f32), half(9, DType::bf16);
    assemble_training_batch(full.images, full.labels, set, indices, 1, 1);
    assemble_training_batch(half.images, half.labels, set, indices, 1, 1);
    EXPECT_EQ(full.ids, half.ids);
    for (std::size_t i = 0; i < full.floats.size(); ++i)
        ASSERT_EQ(half.halves[i].bits, to_bf16(full.floats[i]).bits) << i;
}

TEST(Augment, AnImageLooksTheSameInEveryBatch) {
    const Dataset set = random_dataset(5, 5);
    const std::vector<std::int32_t> all = {0, 1, 2, 3, 4};
    HostBatch together(5, DType::f32), alone(1, DType::f32);
    assemble_training_batch(together.images, together.labels, set, all, 9, 3);
    assemble_training_batch(alone.images, alone.labels, set, std::span(all).subspan(3, 1), 9, 3);
    EXPECT_TRUE(
        std::equal(alone.floats.begin(), alone.floats.end(), together.floats.begin() + 3 * kImageBytes));
}

TEST(Augment, CropsAndFlipsAreUniform) {
    constexpr std::int64_t kImages = 50000;
    constexpr double kExpected = kImages / 162.0;
    // Chi-squared with 161 degrees of freedom: mean 161, deviation 18; 250 is five deviations up. The draws
    // are fixed, so this passes always or never.
    constexpr double kChiSquaredLimit = 250.0;
    std::array<int, 162> seen{};
    for (std::int64_t i = 0; i < kImages; ++i) {
        const Crop crop = draw_crop(42, 7, i);
        ASSERT_TRUE(crop.top >= 0 && crop.top <= 8 && crop.left >= 0 && crop.left <= 8);
        ++seen[static_cast<std::size_t>((crop.top * 9 + crop.left) * 2 + (crop.flip ? 1 : 0))];
    }
    double chi_squared = 0;
    for (const int times : seen) {
        EXPECT_GT(times, 0);
        chi_squared += (times - kExpected) * (times - kExpected) / kExpected;
    }
    EXPECT_LT(chi_squared, kChiSquaredLimit);
}

TEST(Augment, CropsChangeWithSeedEpochAndImage) {
    int same_seed = 0, same_epoch = 0, same_image = 0;
    const auto equal = [](const Crop& a, const Crop& b) {
        return a.top == b.top && a.left == b.left && a.flip == b.flip;
    };
    for (std::int64_t i = 0; i < 1000; ++i) {
        same_seed += equal(draw_crop(1, 1, i), draw_crop(2, 1, i));
        same_epoch += equal(draw_crop(1, 1, i), draw_crop(1, 2, i));
        same_image += equal(draw_crop(1, 1, i), draw_crop(1, 1, i + 1));
    }
    // Two independent draws agree with probability 1/162: 6 of 1000 expected, above 25 with probability 1e-8.
    constexpr int kMostAgreements = 25;
    EXPECT_LT(same_seed, kMostAgreements);
    EXPECT_LT(same_epoch, kMostAgreements);
    EXPECT_LT(same_image, kMostAgreements);
}

TEST(Augment, RefusesWrongTensorsAndIndices) {
    const Dataset set = random_dataset(3, 6);
    const std::vector<std::int32_t> good = {0, 1}, high = {0, 3}, negative = {-1, 0};
    HostBatch batch(2, DType::f32), larger(3, DType::f32);
    EXPECT_THROW(assemble_evaluation_batch(batch.images, batch.labels, set, high), Error);
    EXPECT_THROW(assemble_evaluation_batch(batch.images, batch.labels, set, negative), Error);
    EXPECT_THROW(assemble_evaluation_batch(larger.images, batch.labels, set, good), Error);
    EXPECT_THROW(assemble_evaluation_batch(batch.images, larger.labels, set, good), Error);
    const Tensor bytes = {batch.images.data, DType::u8, batch.images.shape};
    EXPECT_THROW(assemble_evaluation_batch(bytes, batch.labels, set, good), Error);
}

}  // namespace
}  // namespace qstep

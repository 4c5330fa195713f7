#include "data/synthetic.h"

#include <omp.h>

#include <array>
#include <complex>
#include <functional>
#include <set>

#include "data/synthetic_shapes.h"
#include "data_fixture.h"
#include "softmax_regression.h"

namespace qstep {
namespace {

constexpr std::int64_t kTrain = 3000, kTest = 1000;

const DataSplits& sample_set() {
    static const DataSplits splits = make_synthetic(kTrain, kTest);
    return splits;
}

/// The features of each image of a set, as `extract` appends them.
Samples features_of(const Dataset& set,
                    const std::function<void(const std::uint8_t*, std::vector<float>&)>& extract) {
    Samples samples;
    samples.labels = set.labels;
    for (std::int64_t i = 0; i < set.count(); ++i) extract(set.image(i), samples.features);
    samples.width = samples.features.size() / samples.count();
    return samples;
}

std::uint64_t fnv1a(std::span<const std::uint8_t> bytes) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
    return hash;
}

TEST(Synthetic, AnImageIsAFunctionOfSeedPartAndIndex) {
    const DataSplits& splits = sample_set();
    std::array<std::uint8_t, kImageBytes> image;
    for (const std::int64_t i : {0, 1, 17, 999}) {
        draw_synthetic_image(image, kSyntheticSeed, SyntheticPart::train, i);
        EXPECT_TRUE(std::equal(image.begin(), image.end(), splits.train.image(i)));
        EXPECT_FALSE(std::equal(image.begin(), image.end(), splits.test.image(i)));
        draw_synthetic_image(image, kSyntheticSeed, SyntheticPart::test, i);
        EXPECT_TRUE(std::equal(image.begin(), image.end(), splits.test.image(i)));
        draw_synthetic_image(image, kSyntheticSeed + 1, SyntheticPart::test, i);
        EXPECT_FALSE(std::equal(image.begin(), image.end(), splits.test.image(i)));
        EXPECT_EQ(splits.train.labels[static_cast<std::size_t>(i)],
                  synthetic_label(kSyntheticSeed, SyntheticPart::train, i));
    }
}

TEST(Synthetic, TheThreadCountDoesNotMatter) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(1);
    const DataSplits one = make_synthetic(205, 13);
    omp_set_num_threads(3);
    const DataSplits three = make_synthetic(205, 13);
    omp_set_num_threads(before);
    EXPECT_EQ(one.train.images, three.train.images);
    EXPECT_EQ(one.train.labels, three.train.labels);
    EXPECT_EQ(one.test.images, three.test.images);
    EXPECT_EQ(one.test.labels, three.test.labels);
}

TEST(Synthetic, TheBytesAreTheSameOnEveryMachine) {
    const DataSplits splits = make_synthetic(100, 1);
    EXPECT_EQ(fnv1a(splits.train.labels), 10000887400721359719u);
    EXPECT_EQ(fnv1a(splits.train.images), 1843850645580117623u);
}

TEST(Synthetic, EveryTenImagesHoldEveryClass) {
    for (const Dataset* set : {&sample_set().train, &sample_set().test}) {
        EXPECT_TRUE(set->is_synthetic);
        for (std::size_t first = 0; first < set->labels.size(); first += 10)
            EXPECT_EQ(std::set<int>(set->labels.begin() + static_cast<std::ptrdiff_t>(first),
                                    set->labels.begin() + static_cast<std::ptrdiff_t>(first) + 10)
                          .size(),
                      10u);
    }
    EXPECT_THROW(make_synthetic(0, 10), Error);
    EXPECT_THROW(make_synthetic(10, 0), Error);
}

TEST(Synthetic, OutlinesHaveOneAreaAndLieInTheMiddle) {
    constexpr float kSize = 18.0f;
    // The soft edge and the pixel grid are worth a few pixels of the 254 of the figure.
    constexpr double kAreaTolerance = 6.0, kCentreTolerance = 0.1;
    std::set<std::string_view> names;
    for (std::int64_t k = 0; k < kClassCount; ++k) {
        names.insert(synthetic_class_name(k));
        std::array<float, 1024> coverage;
        draw_outline(coverage.data(), k, {15.5f, 15.5f, {1 / kSize, 0, 0, 1 / kSize}, kSize});
        double area = 0, x_sum = 0, y_sum = 0;
        for (std::size_t i = 0; i < 1024; ++i) {
            ASSERT_TRUE(coverage[i] >= 0 && coverage[i] <= 1);
            area += coverage[i];
            x_sum += coverage[i] * static_cast<double>(i % 32);
            y_sum += coverage[i] * static_cast<double>(i / 32);
        }
        EXPECT_NEAR(area, 0.25 * 3.14159265 * kSize * kSize, kAreaTolerance) << synthetic_class_name(k);
        EXPECT_NEAR(x_sum / area, 15.5, kCentreTolerance) << synthetic_class_name(k);
        EXPECT_NEAR(y_sum / area, 15.5, kCentreTolerance) << synthetic_class_name(k);
    }
    EXPECT_EQ(names.size(), 10u);
    EXPECT_THROW(synthetic_class_name(10), Error);
}

TEST(Synthetic, PixelsDoNotSeparateTheClassesLinearly) {
    // Chance is 10 %; a network has to reach far more than this to have learned anything.
    constexpr double kMostLinearAccuracy = 0.25;
    const auto pixels = [](const std::uint8_t* image, std::vector<float>& to) {
        to.insert(to.end(), image, image + kImageBytes);
    };
    const Samples train = features_of(sample_set().train, pixels),
                  test = features_of(sample_set().test, pixels);
    const double accuracy = linear_accuracy(train, test, 4, 3e-4f);
    RecordProperty("accuracy", std::to_string(accuracy));
    EXPECT_LT(accuracy, kMostLinearAccuracy);
}

/// Mean and deviation of each channel, and the brightness of each quarter of the image.
void colour_features(const std::uint8_t* image, std::vector<float>& to) {
    std::array<double, 4> quarters{};
    for (std::size_t c = 0; c < 3; ++c) {
        double sum = 0, squares = 0;
        for (std::size_t i = 0; i < 1024; ++i) {
            const double p = image[c * 1024 + i];
            sum += p;
            squares += p * p;
            quarters[(i / 512) * 2 + (i % 32) / 16] += p;
        }
        to.push_back(static_cast<float>(sum / 1024));
        to.push_back(static_cast<float>(std::sqrt(squares / 1024 - sum * sum / (1024.0 * 1024.0))));
    }
    for (const double q : quarters) to.push_back(static_cast<float>(q));
}

TEST(Synthetic, ColourBrightnessAndPositionTellNothing) {
    // 1,000 guesses at 10 % scatter by 1 %; five deviations.
    constexpr double kMostAccuracy = 0.15;
    const Samples train = features_of(sample_set().train, colour_features);
    const Samples test = features_of(sample_set().test, colour_features);
    const double accuracy = linear_accuracy(train, test, 10, 1e-2f);
    RecordProperty("accuracy", std::to_string(accuracy));
    EXPECT_LT(accuracy, kMostAccuracy);
}

/// Distance of each pixel, after a 3x3 mean against the noise, from the median colour of the image's rim.
std::array<float, 1024> distance_from_rim(const std::uint8_t* image) {
    std::array<float, 1024> distance{};
    for (std::size_t c = 0; c < 3; ++c) {
        std::array<float, 1024> smooth;
        std::vector<float> rim;
        for (int y = 0; y < 32; ++y)
            for (int x = 0; x < 32; ++x) {
                float sum = 0;
                for (int r = -1; r <= 1; ++r)
                    for (int s = -1; s <= 1; ++s)
                        sum += image[c * 1024 + static_cast<std::size_t>(std::clamp(y + r, 0, 31) * 32 +
                                                                         std::clamp(x + s, 0, 31))];
                smooth[static_cast<std::size_t>(y * 32 + x)] = sum / 9;
                if (x == 0 || y == 0 || x == 31 || y == 31) rim.push_back(sum / 9);
            }
        std::nth_element(rim.begin(), rim.begin() + static_cast<std::ptrdiff_t>(rim.size() / 2), rim.end());
        for (std::size_t i = 0; i < 1024; ++i) distance[i] += std::abs(smooth[i] - rim[rim.size() / 2]);
    }
    return distance;
}

/// Where the figure is, guessed by a threshold, then how its pixels lie around their centre of mass, whatever
/// its angle: shares of eight rings, and the size of the angular harmonics 1 to 6.
void outline_features(const std::uint8_t* image, std::vector<float>& to) {
    const std::array<float, 1024> distance = distance_from_rim(image);
    std::array<float, 1024> sorted = distance;
    std::sort(sorted.begin(), sorted.end());
    const float threshold = 0.5f * (sorted[256] + sorted[960]);
    double area = 1e-9, x_mean = 0, y_mean = 0;
    for (std::size_t i = 0; i < 1024; ++i) {
        if (distance[i] < threshold) continue;
        area += 1;
        x_mean += static_cast<double>(i % 32);
        y_mean += static_cast<double>(i / 32);
    }
    x_mean /= area;
    y_mean /= area;
    std::array<double, 8> rings{};
    std::array<std::complex<double>, 6> harmonics{};
    for (std::size_t i = 0; i < 1024; ++i) {
        if (distance[i] < threshold) continue;
        const double x = static_cast<double>(i % 32) - x_mean, y = static_cast<double>(i / 32) - y_mean;
        const double radius = std::hypot(x, y) / std::sqrt(area), angle = std::atan2(y, x);
        rings[static_cast<std::size_t>(std::min(7.0, radius / 0.12))] += 1 / area;
        for (std::size_t k = 0; k < 6; ++k)
            harmonics[k] += std::polar(radius * radius / area, static_cast<double>(k + 1) * angle);
    }
    for (const double ring : rings) to.push_back(static_cast<float>(ring));
    for (const auto& harmonic : harmonics) to.push_back(static_cast<float>(std::abs(harmonic)));
}

TEST(Synthetic, TheOutlineTellsTheClass) {
    // Three times chance from a crude segmentation and fourteen numbers.
    constexpr double kLeastAccuracy = 0.30;
    const Samples train = features_of(sample_set().train, outline_features);
    const Samples test = features_of(sample_set().test, outline_features);
    const double accuracy = linear_accuracy(train, test, 10, 1e-2f);
    RecordProperty("accuracy", std::to_string(accuracy));
    EXPECT_GT(accuracy, kLeastAccuracy);
}

}  // namespace
}  // namespace qstep

// A linear classifier for the tests of the synthetic set: softmax regression on standardised features.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qstep {

/// Row-major samples with `width` features each.
struct Samples {
    std::size_t width = 0;
    std::vector<float> features;
    std::vector<std::uint8_t> labels;
    std::size_t count() const { return labels.size(); }
    std::span<const float> row(std::size_t i) const { return std::span(features).subspan(i * width, width); }
};

/// Subtracts each feature's mean over `train` and divides by its deviation, in both.
inline void standardise(Samples& train, Samples& test) {
    for (std::size_t j = 0; j < train.width; ++j) {
        double sum = 0, squares = 0;
        for (std::size_t i = 0; i < train.count(); ++i) {
            const double x = train.features[i * train.width + j];
            sum += x;
            squares += x * x;
        }
        const double n = static_cast<double>(train.count()), mean = sum / n;
        const double deviation = std::sqrt(std::max(1e-12, squares / n - mean * mean));
        for (Samples* samples : {&train, &test})
            for (std::size_t i = 0; i < samples->count(); ++i) {
                float& x = samples->features[i * samples->width + j];
                x = static_cast<float>((x - mean) / deviation);
            }
    }
}

/// Ten rows of weights and the bias behind each row's weights.
class SoftmaxRegression {
  public:
    explicit SoftmaxRegression(std::size_t width) : width_(width), weights_(10 * (width + 1)) {}

    /// Plain stochastic gradient descent, one sample at a time, the rate falling to nothing.
    void fit(const Samples& samples, int epochs, float rate) {
        const std::size_t steps = static_cast<std::size_t>(epochs) * samples.count();
        for (std::size_t step = 0; step < steps; ++step) {
            const std::size_t i = step % samples.count();
            const float step_rate = rate * (1.0f - static_cast<float>(step) / static_cast<float>(steps));
            float scores[10];
            evaluate(samples.row(i), scores);
            const float largest = *std::max_element(scores, scores + 10);
            float total = 0;
            for (float& s : scores) total += s = std::exp(s - largest);
            for (std::size_t k = 0; k < 10; ++k) {
                const float error = scores[k] / total - (samples.labels[i] == k ? 1.0f : 0.0f);
                float* w = weights_.data() + k * (width_ + 1);
                const float* x = samples.row(i).data();
                for (std::size_t j = 0; j < width_; ++j) w[j] -= step_rate * error * x[j];
                w[width_] -= step_rate * error;
            }
        }
    }

    double accuracy(const Samples& samples) const {
        int right = 0;
        for (std::size_t i = 0; i < samples.count(); ++i) {
            float scores[10];
            evaluate(samples.row(i), scores);
            right += std::max_element(scores, scores + 10) - scores == samples.labels[i];
        }
        return right / static_cast<double>(samples.count());
    }

  private:
    void evaluate(std::span<const float> x, float (&scores)[10]) const {
        for (std::size_t k = 0; k < 10; ++k) {
            const float* w = weights_.data() + k * (width_ + 1);
            float lanes[16] = {};
            for (std::size_t j = 0; j < width_; ++j) lanes[j % 16] += w[j] * x[j];
            scores[k] = w[width_];
            for (const float lane : lanes) scores[k] += lane;
        }
    }

    std::size_t width_;
    std::vector<float> weights_;
};

inline double linear_accuracy(Samples train, Samples test, int epochs, float rate) {
    standardise(train, test);
    SoftmaxRegression model(train.width);
    model.fit(train, epochs, rate);
    return model.accuracy(test);
}

}  // namespace qstep

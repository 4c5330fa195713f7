#include "tests/layers/golden.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/random.h"

namespace qstep::golden {

namespace {

constexpr std::size_t kProjections = 16;
constexpr std::size_t kSamples = 64;

void make_symmetric(std::vector<float>& u, float bound) {
    for (float& value : u) value = (2.0f * value - 1.0f) * bound;
}

void make_around_one(std::vector<float>& u) {
    for (float& value : u) value = 0.5f + value;
}

double relative_norm(std::span<const double> found, std::span<const double> stored) {
    double difference = 0.0, size = 0.0;
    for (std::size_t i = 0; i < stored.size(); ++i) {
        difference += (found[i] - stored[i]) * (found[i] - stored[i]);
        size += stored[i] * stored[i];
    }
    return std::sqrt(difference / size);
}

}  // namespace

std::vector<float> Recipe::uniform(std::uint32_t kind, std::uint32_t number, std::int64_t count) const {
    const RandomStream stream{seed_ * 16 + kind, Purpose::init_weights, number};
    std::vector<float> values(static_cast<std::size_t>(count));
#pragma omp parallel for
    for (std::size_t first = 0; first < values.size(); first += 4) {
        const Draw4 draw = stream.block(first / 4);
        for (std::size_t e = first; e < std::min(first + 4, values.size()); ++e)
            values[e] = uniform_from_bits(draw.word[e - first]);
    }
    return values;
}

std::vector<float> Recipe::parameter(std::uint32_t number, const ParameterStore::Parameter& parameter) const {
    const Shape& shape = parameter.value.shape;
    std::vector<float> values = uniform(0, number, shape.count());
    if (shape.rank() > 1)
        make_symmetric(values,
                       static_cast<float>(std::sqrt(3.0 / static_cast<double>(shape.count() / shape[0]))));
    else if (parameter.name.ends_with(".weight"))
        make_around_one(values);
    else
        make_symmetric(values, 0.125f);
    return values;
}

std::vector<float> Recipe::momentum(std::uint32_t number, std::int64_t count) const {
    std::vector<float> values = uniform(1, number, count);
    make_symmetric(values, 0.0078125f);
    return values;
}

std::vector<float> Recipe::buffer(std::uint32_t number, const ParameterStore::Buffer& buffer) const {
    std::vector<float> values = uniform(2, number, buffer.value.count());
    if (buffer.name.ends_with("running_var"))
        make_around_one(values);
    else
        make_symmetric(values, 0.125f);
    return values;
}

std::vector<float> Recipe::images_nhwc(std::uint32_t step, std::int64_t batch) const {
    const std::vector<float> u = uniform(3, step, batch * 3 * 32 * 32);
    std::vector<float> images(u.size());
    for (std::size_t n = 0; n < static_cast<std::size_t>(batch); ++n)
        for (std::size_t c = 0; c < 3; ++c)
            for (std::size_t p = 0; p < 1024; ++p)
                images[(n * 1024 + p) * 3 + c] = 4.0f * u[(n * 3 + c) * 1024 + p] - 2.0f;
    return images;
}

std::vector<std::int32_t> Recipe::labels(std::uint32_t step, std::int64_t batch) const {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(batch));
    for (std::size_t e = 0; e < labels.size(); ++e)
        labels[e] = static_cast<std::int32_t>((7 * e + step) % 10);
    return labels;
}

Golden::Golden(const std::string& model)
    : file_(std::string(QSTEP_GOLDEN_DIR) + "/" + model + ".safetensors") {}

std::vector<double> Golden::tensor(const std::string& name) const {
    const SafetensorsFile::Entry& entry = file_.entries().at(name);
    std::vector<double> values(entry.bytes() / sizeof(double));
    file_.read(entry, std::as_writable_bytes(std::span(values)));
    return values;
}

double Golden::summary_error(const std::vector<double>& summary, std::uint32_t number,
                             std::span<const float> found) const {
    const RandomStream signs{seed() * 16 + 4, Purpose::rotation, number};
    std::array<double, kProjections> projections{};
    double* const sums = projections.data();
#pragma omp parallel for reduction(+ : sums[:kProjections])
    for (std::size_t first = 0; first < found.size(); first += 4) {
        const Draw4 draw = signs.block(first / 4);
        for (std::size_t e = first; e < std::min(first + 4, found.size()); ++e)
            for (std::size_t j = 0; j < kProjections; ++j)
                sums[j] += draw.word[e - first] >> j & 1 ? -found[e] : found[e];
    }
    double squares = 0.0;
    for (std::size_t j = 0; j < kProjections; ++j) squares += std::pow(projections[j] - summary[1 + j], 2);
    const double by_projection = std::sqrt(squares / kProjections) / summary[0];

    std::vector<double> samples(kSamples);
    for (std::size_t i = 0; i < kSamples; ++i) samples[i] = found[i * (found.size() / kSamples)];
    return std::max(by_projection, relative_norm(samples, std::span(summary).subspan(1 + kProjections)));
}

double Golden::relative_error(int step, const std::string& kind, const std::string& name,
                              std::uint32_t number, std::span<const float> found) const {
    const std::string suffix = name.empty() ? "" : "." + name;
    const std::string full = fmt::format("step{}.{}{}", step, kind, suffix);
    if (!file_.entries().contains(full))
        return summary_error(tensor(fmt::format("step{}.{}_summary{}", step, kind, suffix)), number, found);
    const std::vector<double> stored = tensor(full);
    QSTEP_CHECK(stored.size() == found.size(), "{} has {} elements, found {}", full, stored.size(),
                found.size());
    return relative_norm(std::vector<double>(found.begin(), found.end()), stored);
}

double Golden::norm(int step, const std::string& kind, const std::string& name) const {
    const std::string full = fmt::format("step{}.{}.{}", step, kind, name);
    if (!file_.entries().contains(full))
        return tensor(fmt::format("step{}.{}_summary.{}", step, kind, name)).front();
    double sum = 0.0;
    for (const double value : tensor(full)) sum += value * value;
    return std::sqrt(sum);
}

}  // namespace qstep::golden

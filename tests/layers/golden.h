// Reads the step goldens of tests/golden/ and computes the start values that make_goldens.py defines.
#pragma once

#include <string>
#include <vector>

#include "layers/parameters.h"
#include "train/safetensors.h"

namespace qstep::golden {

/// The recipe in the head of tests/golden/make_goldens.py.
class Recipe {
  public:
    explicit Recipe(std::uint64_t seed) : seed_(seed) {}
    std::vector<float> parameter(std::uint32_t number, const ParameterStore::Parameter& parameter) const;
    std::vector<float> momentum(std::uint32_t number, std::int64_t count) const;
    std::vector<float> buffer(std::uint32_t number, const ParameterStore::Buffer& buffer) const;
    /// [N,32,32,3], from the recipe's [N,3,32,32].
    std::vector<float> images_nhwc(std::uint32_t step, std::int64_t batch) const;
    std::vector<std::int32_t> labels(std::uint32_t step, std::int64_t batch) const;

  private:
    std::vector<float> uniform(std::uint32_t kind, std::uint32_t number, std::int64_t count) const;
    std::uint64_t seed_;
};

/// One golden file.
class Golden {
  public:
    explicit Golden(const std::string& model);
    const std::string& metadata(const std::string& key) const { return file_.metadata().at(key); }
    std::uint64_t seed() const { return std::stoull(metadata("seed")); }

    /// ‖found − stored‖ / ‖stored‖ for `stepS.KIND[.NAME]`. Where the file keeps a summary of a large tensor,
    /// the norm of the difference is estimated from the 16 random-sign projections (each is N(0,
    /// ‖difference‖²) or nearly so) and the 64 samples are compared as well; the larger of both estimates is
    /// returned.
    double relative_error(int step, const std::string& kind, const std::string& name, std::uint32_t number,
                          std::span<const float> found) const;

    /// ‖stored‖ of the same tensor.
    double norm(int step, const std::string& kind, const std::string& name) const;

  private:
    std::vector<double> tensor(const std::string& name) const;
    double summary_error(const std::vector<double>& summary, std::uint32_t number,
                         std::span<const float> found) const;
    SafetensorsFile file_;
};

}  // namespace qstep::golden

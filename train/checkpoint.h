// Checkpoints: a run at a step border, as a safetensors file.
//
// Tensors, all f32 in PyTorch's names and layouts: each parameter NAME, its momentum.NAME and, in a run with
// error feedback, its residual.NAME; each running statistic NAME. Metadata, all strings: format "qstep
// checkpoint", format_version, model, seed, step, epoch and batch (finished epochs, finished steps of the
// running one) for people and other programs; configuration (JSON, the stored options by name), progress and
// metrics (JSON) for resuming. Nothing in it depends on time; the same run on the same data folder gives the
// same bytes.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "engine/context.h"
#include "layers/parameters.h"
#include "train/metrics.h"
#include "train/options.h"
#include "train/safetensors.h"

namespace qstep {

/// Where a run is. Between epochs `batch` and everything of the running epoch are 0.
struct Progress {
    std::int64_t epoch = 0;   // finished epochs
    std::int64_t batch = 0;   // finished steps of the running epoch
    std::int64_t step = 0;    // finished steps in all
    std::string data;         // what it is trained on: "50000 CIFAR-10 training images"
    std::string fingerprint;  // of training and test data (data/fingerprint.h); empty: not recorded
    /// Of the running epoch: sums over images, images seen, sum of the steps' quantization variances.
    double loss_sum = 0.0, right = 0.0;
    std::int64_t images = 0;
    double variance_sum = 0.0;
    /// The last finished epoch, and the one with the highest test accuracy.
    std::optional<EpochMetrics> last, best;
};

/// Replaces the file at `path`. Throws a run error that says why when it cannot.
void save_checkpoint(const std::filesystem::path& path, Context& context, const ParameterStore& parameters,
                     const Options& options, const Progress& progress);

/// Parameters and running statistics alone, format "qstep model": what a PyTorch module's load_state_dict
/// takes. Of other programs, such files need no configuration; it is the default one then.
void save_model(const std::filesystem::path& path, Context& context, const ParameterStore& parameters,
                const Options& options);

/// A checkpoint or model file whose metadata has been read and checked.
class Checkpoint {
  public:
    /// Throws a run error of one sentence for a file that is not one or has another version.
    explicit Checkpoint(const std::filesystem::path& path);

    const std::string& model() const { return model_; }
    /// The stored options, as from_json() takes them; complete also if an earlier version stored them.
    const nlohmann::ordered_json& configuration() const { return configuration_; }
    /// Start of a run for a model file.
    const Progress& progress() const { return progress_; }
    /// True for a checkpoint, false for a model file, from which nothing can be resumed.
    bool can_resume() const { return can_resume_; }

    /// Copies all tensors into the store; momentum and residual only when `for_training`. Every name, type
    /// and shape is checked and everything is read before anything is changed. Throws a run error that names
    /// the first difference between file and model.
    void load(Context& context, ParameterStore& parameters, bool for_training) const;

  private:
    void parse_metadata();
    const std::string& text(const char* key) const;

    SafetensorsFile file_;
    std::string model_;
    nlohmann::ordered_json configuration_;
    Progress progress_;
    bool can_resume_ = true;
};

}  // namespace qstep

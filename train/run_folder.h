// The folder a run writes into.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace qstep {

/// The folder, its lock, and the names of the files in it.
struct RunFolder {
    std::filesystem::path path;
    /// Keeps other runs out for as long as a copy of it lives (flock on the folder), also in other processes.
    std::shared_ptr<const void> lock = {};

    std::filesystem::path checkpoint() const { return path / "checkpoint.safetensors"; }
    std::filesystem::path model() const { return path / "model.safetensors"; }
    std::filesystem::path metrics() const { return path / "metrics.csv"; }
    std::filesystem::path configuration() const { return path / "config.json"; }
    std::filesystem::path report() const { return path / "report.html"; }
};

/// Makes the folder of a new run. `output`: the folder asked for, which may exist but must hold none of the
/// files above, so that two runs never mix (usage error otherwise); empty: runs/<label>-<date>-<time>,
/// numbered where that exists. Throws a run error that says why when the folder cannot be made or written, or
/// when another run is using it.
RunFolder make_run_folder(const std::string& output, const std::string& label);

/// The folder that a checkpoint lies in, to continue there. Throws a run error when it cannot be written or
/// another run is using it.
RunFolder folder_of_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace qstep

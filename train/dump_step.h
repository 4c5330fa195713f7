// One training step with everything that went in and came out, for comparison with other engines.
#pragma once

#include <filesystem>

#include "data/dataset.h"
#include "train/options.h"
#include "train/session.h"

namespace qstep {

/// What the metadata of a dump says under "format".
inline constexpr const char* kStepFormat = "qstep step";

/// Trains options.max_steps steps and writes the last one to `path`, a safetensors file in PyTorch's
/// layouts, f32 but for the labels: input [N,3,32,32], labels [N] i64, logits [N,10], loss []; for each
/// parameter param_before.NAME, momentum_before.NAME, grad.NAME, quantized_grad.NAME, param_after.NAME,
/// momentum_after.NAME and, with error feedback, residual_before.NAME and residual_after.NAME; for each
/// running statistic buffer_before.NAME and buffer_after.NAME. Metadata, strings: format, model, precision,
/// lr (of this step), momentum, weight_decay, nesterov ("0" or "1"), quant, levels, bucket_size, rounding,
/// smart_candidates, points, qsgd_norm, fixed_il, fixed_fl, error_feedback ("0" or "1"), ef_alpha, ef_beta,
/// seed, step (from 0), dropout ("0": the session has it switched off). Throws a run error when a gradient
/// is not finite or the file cannot be written.
void dump_step(const std::filesystem::path& path, Session& session, const DataSplits& data,
               const Options& options);

}  // namespace qstep

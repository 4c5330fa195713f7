// The page on one run, report.html.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "train/histogram.h"
#include "train/report/run_record.h"
#include "train/report/svg_chart.h"

namespace qstep {

/// The gradient of one step, and what was applied of it where it was quantized.
struct GradientPicture {
    std::int64_t step = 0;  // finished steps, this one included
    Histogram before;
    std::optional<Histogram> after;  // with the bins of `before`
};

/// Bins over the largest magnitude of both. `applied`: empty without quantization.
GradientPicture gradient_picture(std::int64_t step, std::span<const float> gradient,
                                 std::span<const float> applied);

/// The whole page. Without a picture, of a run that made no step, there is no chart of it. `failure`: the
/// sentence with which the run ended, empty where it went well.
std::string report_page(const RunRecord& run, const std::optional<GradientPicture>& gradient,
                        const std::string& failure = {});

/// Four decimals; of a run that diverged, four digits: "0.0110", "1.894e+19".
std::string loss_text(double loss);
/// "71.4 s"; a dash for what was not measured (time_of).
std::string seconds_text(double seconds);
/// "751"; the same dash.
std::string speed_text(double images_per_second);

/// A column of the run's rows as a curve over epochs.
Curve epoch_curve(const RunRecord& run, const std::string& name, double (*value)(const MetricsRow&));

}  // namespace qstep

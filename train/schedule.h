// Learning rates as pure functions of the step's place in the run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace qstep {

/// Which of the formulas below.
enum class ScheduleKind { multistep, cosine, onecycle };

/// With t the step from 0, T = epochs * steps_per_epoch, e = t / steps_per_epoch (whole part):
///
/// multistep  lr * 0.1^(number of milestones <= e)           (torch MultiStepLR, gamma 0.1)
/// cosine     lr * (1 + cos(pi * t / T)) / 2                 (torch CosineAnnealingLR, stepped each step;
///                                                            reaches 0 behind the last step)
/// onecycle   with W = max(0.3 * T - 1, 0), L = T - 1: for t <= W linear from lr/25 to lr; then
///            low + (lr - low) * (1 + cos(pi * (t - W) / (L - W))) / 2, low = lr/25/10^4
///            (torch OneCycleLR with its defaults pct_start 0.3, div_factor 25, final_div_factor 10^4, except
///            that the rise is linear as in Smith and Topin, "Super-convergence", 2017, and that the momentum
///            stays as it is)
///
/// --max-steps cuts a run short without changing T.
struct Schedule {
    ScheduleKind kind = ScheduleKind::multistep;
    double lr = 0.1;
    std::vector<std::int64_t> milestones;  // epochs, rising; multistep only
    std::int64_t epochs = 1;
    std::int64_t steps_per_epoch = 1;
};

/// The learning rate of step t >= 0, computed in double. Behind the end of the run the last value is kept.
double learning_rate(const Schedule& schedule, std::int64_t step);

/// "multistep", "cosine", "onecycle".
const std::vector<std::string>& schedule_names();
/// Throws a usage error on any other text.
ScheduleKind parse_schedule(std::string_view name);
/// What parse_schedule() takes.
std::string to_string(ScheduleKind kind);

}  // namespace qstep

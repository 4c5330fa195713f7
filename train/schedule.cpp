#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/error.h"

namespace qstep {

namespace {

constexpr double kDecay = 0.1;
constexpr double kWarmUpShare = 0.3;
constexpr double kStartDivisor = 25.0;
constexpr double kFinalDivisor = 1e4;

// From 1 at share 0 to 0 at share 1.
double half_cosine(double share) {
    return 0.5 * (1.0 + std::cos(std::numbers::pi * share));
}

double multistep(const Schedule& schedule, std::int64_t step) {
    const std::int64_t epoch = step / schedule.steps_per_epoch;
    const auto passed = std::ranges::count_if(schedule.milestones,
                                              [epoch](std::int64_t milestone) { return milestone <= epoch; });
    double lr = schedule.lr;
    for (std::ptrdiff_t i = 0; i < passed; ++i) lr *= kDecay;
    return lr;
}

double onecycle(const Schedule& schedule, double t, double total) {
    const double warm_up = std::max(kWarmUpShare * total - 1.0, 0.0);
    const double last = total - 1.0;
    const double start = schedule.lr / kStartDivisor;
    const double low = start / kFinalDivisor;
    if (t < warm_up) return start + (schedule.lr - start) * t / warm_up;
    if (last <= warm_up) return schedule.lr;
    return low + (schedule.lr - low) * half_cosine(std::min((t - warm_up) / (last - warm_up), 1.0));
}

}  // namespace

double learning_rate(const Schedule& schedule, std::int64_t step) {
    const auto t = static_cast<double>(step);
    const auto total = static_cast<double>(schedule.epochs * schedule.steps_per_epoch);
    switch (schedule.kind) {
        case ScheduleKind::multistep:
            return multistep(schedule, step);
        case ScheduleKind::cosine:
            return schedule.lr * half_cosine(std::min(t / total, 1.0));
        case ScheduleKind::onecycle:
            return onecycle(schedule, t, total);
    }
    QSTEP_CHECK(false, "unknown schedule {}", static_cast<int>(schedule.kind));
}

const std::vector<std::string>& schedule_names() {
    static const std::vector<std::string> kNames{"multistep", "cosine", "onecycle"};
    return kNames;
}

ScheduleKind parse_schedule(std::string_view name) {
    const auto& names = schedule_names();
    const auto found = std::ranges::find(names, name);
    if (found == names.end())
        fail_usage("unknown learning rate schedule '{}': use multistep, cosine or onecycle", name);
    return static_cast<ScheduleKind>(found - names.begin());
}

std::string to_string(ScheduleKind kind) {
    return schedule_names()[static_cast<std::size_t>(kind)];
}

}  // namespace qstep

#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/error.h"

namespace qstep {
namespace {

// A handful of double operations each.
constexpr double kRelative = 1e-12;

void expect_close(double value, double expected) {
    EXPECT_NEAR(value, expected, kRelative * std::abs(expected));
}

TEST(Schedule, MultistepDropsAtTheBeginningOfAMilestoneEpoch) {
    const Schedule schedule{ScheduleKind::multistep, 0.1, {81, 122, 164}, 200, 782};
    expect_close(learning_rate(schedule, 0), 0.1);
    expect_close(learning_rate(schedule, 81 * 782 - 1), 0.1);
    expect_close(learning_rate(schedule, 81 * 782), 0.01);
    expect_close(learning_rate(schedule, 122 * 782 - 1), 0.01);
    expect_close(learning_rate(schedule, 122 * 782), 0.001);
    expect_close(learning_rate(schedule, 164 * 782), 0.0001);
    expect_close(learning_rate(schedule, 199 * 782 + 781), 0.0001);
}

TEST(Schedule, CosineIsHalfAPeriod) {
    const Schedule schedule{ScheduleKind::cosine, 0.4, {}, 4, 25};
    expect_close(learning_rate(schedule, 0), 0.4);
    expect_close(learning_rate(schedule, 50), 0.2);
    expect_close(learning_rate(schedule, 25), 0.4 * (2.0 + std::sqrt(2.0)) / 4.0);
    EXPECT_GT(learning_rate(schedule, 99), 0.0);
    EXPECT_EQ(learning_rate(schedule, 100), 0.0);
    EXPECT_EQ(learning_rate(schedule, 1000), 0.0);
}

TEST(Schedule, OneCycleRisesThenFalls) {
    // T = 100: W = 29, L = 99; halfway down is step 64.
    const Schedule schedule{ScheduleKind::onecycle, 0.5, {}, 10, 10};
    expect_close(learning_rate(schedule, 0), 0.5 / 25);
    expect_close(learning_rate(schedule, 29), 0.5);
    expect_close(learning_rate(schedule, 10), 0.02 + 0.48 * 10 / 29);
    const double low = 0.5 / 25 / 1e4;
    expect_close(learning_rate(schedule, 64), (0.5 + low) / 2);
    expect_close(learning_rate(schedule, 99), low);
    expect_close(learning_rate(schedule, 5000), low);
}

TEST(Schedule, OneCycleOfFewSteps) {
    for (const std::int64_t steps : {1, 2, 3, 4}) {
        const Schedule schedule{ScheduleKind::onecycle, 0.5, {}, 1, steps};
        for (std::int64_t t = 0; t < steps; ++t) {
            const double lr = learning_rate(schedule, t);
            EXPECT_TRUE(std::isfinite(lr) && lr > 0.0 && lr <= 0.5) << steps << " " << t << " " << lr;
        }
    }
}

TEST(Schedule, Names) {
    for (const std::string& name : schedule_names()) EXPECT_EQ(to_string(parse_schedule(name)), name);
    try {
        parse_schedule("cosin");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
    }
}

}  // namespace
}  // namespace qstep

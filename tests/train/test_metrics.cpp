#include "train/metrics.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/temporary_folder.h"

namespace qstep {
namespace {

EpochMetrics row(std::int64_t epoch) {
    return {epoch, 10 * epoch, 0.1, 1.5, 40.0, 1.25, 50.5, 0.125};
}

TEST(Metrics, OneLineAnEpoch) {
    TemporaryFolder folder;
    MetricsFile file(folder.path() / "metrics.csv");
    file.keep_epochs(0);
    file.add(row(1), 2.0, 100.0);
    file.add(row(2), 3.0, 90.0);
    EXPECT_EQ(read_bytes(file.path()), std::string(MetricsFile::kHeader) +
                                           "\n1,10,0.1,1.5,40.0000,1.25,50.5000,0.125,2.00,100.0\n"
                                           "2,20,0.1,1.5,40.0000,1.25,50.5000,0.125,3.00,90.0\n");
}

TEST(Metrics, AResumedRunDropsWhatCameAfterItsCheckpoint) {
    TemporaryFolder folder;
    const auto path = folder.path() / "metrics.csv";
    MetricsFile before(path);
    for (int epoch = 1; epoch <= 3; ++epoch) before.add(row(epoch), 1.0, 1.0);
    const std::string whole = read_bytes(path);
    MetricsFile after(path);
    after.keep_epochs(1);
    after.add(row(2), 1.0, 1.0);
    after.add(row(3), 1.0, 1.0);
    EXPECT_EQ(read_bytes(path), whole);
}

TEST(Metrics, RefusesForeignFiles) {
    TemporaryFolder folder;
    const auto path = folder.path() / "metrics.csv";
    std::ofstream(path) << "a,b\n1,2\n";
    EXPECT_THROW(MetricsFile(path).keep_epochs(5), Error);
    for (const char* line :
         {"1,2,3", "1x,10,0.1,1.5,40,1.25,50,0.125,2.5,1", ",10,0.1,1.5,40,1.25,50,0.125,2.5,1"}) {
        std::ofstream(path) << MetricsFile::kHeader << "\n" << line << "\n";
        EXPECT_THROW(MetricsFile(path).keep_epochs(5), Error) << line;
    }
}

TEST(Metrics, AnEmptyFileHoldsNoEpoch) {
    TemporaryFolder folder;
    const auto path = folder.path() / "metrics.csv";
    std::ofstream(path) << "";
    EXPECT_TRUE(read_metrics(path).empty());
    EXPECT_TRUE(read_metrics(folder.path() / "absent").empty());
}

TEST(Metrics, JsonKeepsEveryBit) {
    const EpochMetrics metrics{3, 30, 0.1, 1.0 / 3.0, 200.0 / 7.0, 1e-300, 99.99, 0.1 + 0.2};
    const auto back = metrics_from_json(nlohmann::ordered_json::parse(to_json(metrics).dump()));
    EXPECT_EQ(back.epoch, metrics.epoch);
    EXPECT_EQ(back.step, metrics.step);
    EXPECT_EQ(back.lr, metrics.lr);
    EXPECT_EQ(back.train_loss, metrics.train_loss);
    EXPECT_EQ(back.train_accuracy, metrics.train_accuracy);
    EXPECT_EQ(back.test_loss, metrics.test_loss);
    EXPECT_EQ(back.test_accuracy, metrics.test_accuracy);
    EXPECT_EQ(back.variance, metrics.variance);
}

}  // namespace
}  // namespace qstep

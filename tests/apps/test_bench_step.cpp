#include <gtest/gtest.h>

#include <sstream>

#include "tests/apps/program.h"

namespace qstep {
namespace {

const char* const kLine = "--model resnet_8 --batch-size 8 --quant standard --threads 2";

TEST(BenchStep, AnswersEachLineWithThatManyTimes) {
    TemporaryFolder folder;
    const Outcome outcome = run_program(BENCH_STEP, words(kLine), folder.path(), "3\n1\n");
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    std::istringstream lines(outcome.out);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line.find("ready resnet_8 batch 8 fp32 quant standard threads 2"), 0u) << line;
    for (const std::size_t count : {3u, 1u}) {
        std::getline(lines, line);
        ASSERT_EQ(words(line).size(), count) << line;
        for (const std::string& word : words(line)) EXPECT_GT(std::stod(word), 0.0);
    }
    EXPECT_FALSE(std::getline(lines, line));
}

TEST(BenchStep, RefusesWhatIsNoNumberOfSteps) {
    TemporaryFolder folder;
    EXPECT_EQ(run_program(BENCH_STEP, words(kLine), folder.path(), "many\n").status, 2);
    EXPECT_EQ(run_program(BENCH_STEP, words("--quant what"), folder.path()).status, 2);
}

TEST(BenchStep, ProfilesEveryNode) {
    TemporaryFolder folder;
    const Outcome outcome = run_program(BENCH_STEP, words(std::string(kLine) + " --profile"), folder.path());
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    for (const char* part : {"conv1.weight", "loss", "quantize, update", "whole step"})
        EXPECT_NE(outcome.out.find(part), std::string::npos) << part;
}

}  // namespace
}  // namespace qstep

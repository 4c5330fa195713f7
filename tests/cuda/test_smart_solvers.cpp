// Smart's solvers on a GPU give the CPU's bits.
#include <gtest/gtest.h>

#include <limits>

#include "test_codecs.h"

namespace qstep::test {
namespace {

CodecSettings solved_by(Solver solver, std::int64_t bucket_size, std::int64_t levels = 16) {
    CodecSettings settings = settings_of(CodecKind::smart, bucket_size, levels);
    settings.solver = solver;
    return settings;
}

TEST_F(CudaCodecs, ExactSmartHasTheBitsOfTheCpu) {
    for (const std::int64_t bucket : {1, 7, 72, 73, 512, 2049, 9000})
        expect_same(solved_by(Solver::exact, bucket), gradient_like(bucket + bucket / 2 + 1));
    for (const std::int64_t levels : {2, 3, 17})
        expect_same(solved_by(Solver::exact, -1, levels), gradient_like(3001));
    // Layers of more than 9216 positions.
    expect_same(solved_by(Solver::exact, -1, 40), gradient_like(12000));
}

TEST_F(CudaCodecs, HistogramSmartHasTheBitsOfTheCpu) {
    for (const std::int64_t bucket : {1, 2, 7, 512, 4096, 8192, 8193, 20000})
        expect_same(solved_by(Solver::histogram, bucket), gradient_like(bucket + bucket / 2 + 1));
    // With 256 levels all candidates are points; with 255 a fit takes too much for shared memory.
    for (const std::int64_t levels : {2, 3, 17, 255, 256})
        expect_same(solved_by(Solver::histogram, 3000, levels), gradient_like(7000));
}

TEST_F(CudaCodecs, SmartFitsMoreBucketsThanItHasMemoryFor) {
    // With 256 levels a fit takes too much for shared memory, so a block fits several buckets in turn.
    expect_same(solved_by(Solver::histogram, 16, 256), gradient_like(16 * 270));
}

TEST_F(CudaCodecs, HistogramSmartTakesOddBuckets) {
    constexpr float kLargest = std::numeric_limits<float>::max();
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const auto& x :
         {std::vector<float>(600, 0.0f), std::vector<float>(600, -3.5f),
          std::vector<float>{-kLargest, 1.0f, kLargest}, std::vector<float>{0.0f, 1e-45f, 3e-45f},
          std::vector<float>{1.0f, kInfinity, 2.0f}})
        expect_same(solved_by(Solver::histogram, -1), x);
}

}  // namespace
}  // namespace qstep::test

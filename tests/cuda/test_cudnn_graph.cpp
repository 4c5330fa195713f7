// What cuDNN offers for our convolutions, asked of the library itself on any machine: heuristics and plans
// work from a description of a GPU.
#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/cudnn_graph.h"

namespace qstep::cuda {
namespace {

struct Gpu {
    const char* name;
    int version, multiprocessors, shared_memory, cache;

    /// What cudaDeviceGetAttribute says of it, in the words of CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION.
    std::string description() const {
        return fmt::format(
            R"({{"deviceName":"{}","cudaDeviceId":0,"deviceId":0,"deviceVer":{},"driverVer":13000,"version":1,)"
            R"("multiProcessorCount":{},"maxGridSize":[2147483647,65535,65535],)"
            R"("maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"warpSize":32,)"
            R"("maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":{},)"
            R"("reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
            R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
            R"("supportCoopLaunch":1,"smClockRateKHz":1500000,"memClockRateKHz":1500000,"l2CacheSize":{},)"
            R"("totalGlobalMem":80000000000}})",
            name, version, multiprocessors, shared_memory, cache);
    }
};

void PrintTo(const Gpu& gpu, std::ostream* to) {
    *to << gpu.name;
}

class CudnnGraph : public ::testing::TestWithParam<Gpu> {
  protected:
    void SetUp() override {
        const std::string text = GetParam().description();
        properties_.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                        static_cast<std::int64_t>(text.size()), text.data());
        if (properties_.try_finalize() != CUDNN_STATUS_SUCCESS)
            GTEST_SKIP() << "cuDNN " << cudnnGetVersion() << " does not take this description of a GPU";
    }
    // Admissible configurations that become plans.
    int plans(const ConvProblem& problem, const Numerics& numerics) {
        const ConvGraph graph({.handle = nullptr, .properties = &properties_}, problem);
        int count = 0;
        for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
            for (const CudnnDescriptor& configuration : graph.configurations(mode)) {
                if (!is_admissible(notes_of(configuration), problem, numerics)) continue;
                CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
                plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, properties_)
                    .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
                count += plan.try_finalize() == CUDNN_STATUS_SUCCESS;
            }
        return count;
    }

    CudnnDescriptor properties_{CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR};
};

constexpr auto kF32 = static_cast<std::int64_t>(DType::f32);
constexpr auto kBf16 = static_cast<std::int64_t>(DType::bf16);

// batch, height, width, in, out, kernel_h, kernel_w, stride, pad
const Conv2dShape kShapes[] = {
    {128, 32, 32, 3, 16, 3, 3, 1, 1},  {128, 32, 32, 16, 16, 3, 3, 1, 1}, {128, 32, 32, 16, 32, 3, 3, 2, 1},
    {80, 32, 32, 16, 32, 1, 1, 2, 0},  {80, 16, 16, 32, 32, 3, 3, 1, 1},  {128, 16, 16, 32, 64, 3, 3, 2, 1},
    {128, 16, 16, 32, 64, 1, 1, 2, 0}, {128, 8, 8, 64, 64, 3, 3, 1, 1},   {128, 32, 32, 3, 64, 3, 3, 2, 1},
    {128, 8, 8, 64, 192, 3, 3, 1, 1},  {128, 4, 4, 192, 384, 3, 3, 1, 1}, {128, 4, 4, 384, 256, 3, 3, 1, 1},
    {128, 32, 32, 3, 6, 5, 5, 1, 0},   {128, 14, 14, 6, 16, 5, 5, 1, 0},  {1, 1, 1, 1, 1, 1, 1, 1, 0},
    {2, 9, 18, 33, 17, 1, 3, 1, 0},
};

TEST_P(CudnnGraph, EveryConvolutionHasAPlan) {
    for (const Conv2dShape& shape : kShapes)
        for (const std::int64_t dtype : {kF32, kBf16})
            for (const ConvPass pass :
                 {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights})
                for (const std::int64_t accumulate : {0, 1}) {
                    if (accumulate == 1 && pass != ConvPass::backward_data) continue;
                    const ConvProblem problem{shape, pass, dtype, accumulate};
                    EXPECT_GT(plans(problem, {}), 0) << problem.to_string();
                    EXPECT_GT(plans(problem, {.deterministic = true}), 0) << problem.to_string();
                }
}

TEST_P(CudnnGraph, NumericsNarrowTheChoice) {
    const ConvProblem forward{kShapes[1], ConvPass::forward, kF32, 0};
    EXPECT_GT(plans(forward, {.deterministic = false, .tf32 = true}), plans(forward, {}));
    const ConvProblem backward{kShapes[1], ConvPass::backward_data, kF32, 0};
    EXPECT_GT(plans(backward, {}), plans(backward, {.deterministic = true}));
}

INSTANTIATE_TEST_SUITE_P(Gpus, CudnnGraph,
                         ::testing::Values(Gpu{"A100", 800, 108, 166912, 41943040},
                                           Gpu{"H200", 900, 132, 232448, 62914560}));

}  // namespace
}  // namespace qstep::cuda

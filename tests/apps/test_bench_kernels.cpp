// bench_kernels as a person starts it: what it measures and reports, not how fast anything is.
#include "tests/apps/bench_kernels_report.h"

namespace qstep {
namespace {

TEST(BenchKernels, ReportsBytesElementsAndRatesOnTheCpu) {
    expect_kernel_report(BENCH_KERNELS, "cpu");
}

TEST(BenchKernels, WeightsFitOnTheCpu) {
    expect_weights_to_fit(BENCH_KERNELS, "cpu");
}

TEST(BenchKernels, NamesEveryCodecInEveryMode) {
    TemporaryFolder folder;
    const Outcome outcome = run_program(BENCH_KERNELS, words("--benchmark_list_tests"), folder.path());
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    for (const CodecKind kind : all_codecs())
        for (const char* mode : {"quantize", "in_place", "update", "encode", "decode"})
            for (const char* size : {"4096", "67108864"}) {
                const std::string name = fmt::format("codec/{}/bucket:512/{}/{}/", name_of(kind), mode, size);
                EXPECT_NE(outcome.out.find(name), std::string::npos) << name;
            }
}

TEST(BenchKernels, BadInputGetsOneSentence) {
    TemporaryFolder folder;
    for (const char* arguments : {"--device what", "--threads 0", "--what", "--benchmark_filter=what"}) {
        const Outcome outcome = run_program(BENCH_KERNELS, words(arguments), folder.path());
        EXPECT_EQ(outcome.status, 2) << arguments;
        EXPECT_NE(outcome.err.find("bench_kernels: "), std::string::npos) << outcome.err;
    }
}

}  // namespace
}  // namespace qstep

// bench_kernels as a person starts it: what it measures and reports, not how fast anything is.
#include <set>

#include "tests/apps/bench_kernels_report.h"

namespace qstep {
namespace {

TEST(BenchKernels, ReportsBytesElementsAndRatesOnTheCpu) {
    expect_kernel_report(BENCH_KERNELS, "cpu");
}

TEST(BenchKernels, WeightsFitOnTheCpu) {
    expect_weights_to_fit(BENCH_KERNELS, "cpu");
}

// The rates say nothing here; that each kernel takes what its benchmark gives it does.
TEST(BenchKernels, EveryFamilyOfKernelsRuns) {
    TemporaryFolder folder;
    const Outcome outcome =
        run_program(BENCH_KERNELS,
                    words("--device cpu --threads 2 --benchmark_min_time=0.0001 --benchmark_out=report.json "
                          "--benchmark_filter=^[^/]+/[^/]+/(4096|128x8x8x64)/"
                          "|^(gather|average|max|nhwc|nchw|softmax|linear|end_step|advance)"),
                    folder.path());
    ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
    std::set<std::string> families;
    const auto report = nlohmann::json::parse(read_bytes(folder.path() / "report.json"));
    for (const auto& entry : report.at("benchmarks")) {
        const std::string name = entry.at("name");
        EXPECT_FALSE(entry.contains("error_message")) << name;
        EXPECT_GT(entry.at("bytes").get<double>(), 0.0) << name;
        families.insert(name.substr(0, name.find('/')));
    }
    const Outcome list =
        run_program(BENCH_KERNELS, words("--device cpu --benchmark_list_tests"), folder.path());
    std::set<std::string> expected;
    for (const std::string& name : words(list.out)) expected.insert(name.substr(0, name.find('/')));
    // NamesEveryCodecInEveryMode is about those.
    EXPECT_EQ(expected.erase("codec"), 1u);
    EXPECT_GT(expected.size(), 20u) << list.out << list.err;
    EXPECT_EQ(families, expected);
}

TEST(BenchKernels, HelpNamesTheOptions) {
    TemporaryFolder folder;
    const Outcome outcome = run_program(BENCH_KERNELS, {"--help"}, folder.path());
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("--device"), std::string::npos) << outcome.out;
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

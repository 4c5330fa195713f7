// Times every codec and every kernel beside a copy of the same bytes.
//
//   bench_kernels [--device auto|cpu|cuda|cuda:N] [--threads N] [options of Google Benchmark]
//
// Names are codec/KIND/bucket:SIZE/MODE/ELEMENTS and KERNEL/TYPE/SHAPE; --benchmark_filter chooses among
// them, --benchmark_out writes JSON. The counters are those of Measurement::counters(); the label says
// whether the tensors stay in the caches or come from memory.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "apps/bench_kernels/measurement.h"
#include "engine/error.h"

namespace {

using namespace qstep;

struct Settings {
    Device device;
    int threads = 0;
};

class Runner {
  public:
    explicit Runner(const Settings& settings) : settings_(settings) {
        bench::add_codecs(benchmarks_);
        bench::add_elementwise(benchmarks_);
        bench::add_batch_norm(benchmarks_);
        bench::add_convolution(benchmarks_);
        bench::add_step_ends(benchmarks_);
        if (settings.device.kind == DeviceKind::cuda) bench::add_weight_copies(benchmarks_);
        for (const bench::Benchmark& each : benchmarks_)
            benchmark::RegisterBenchmark(each.name.c_str(),
                                         [this, &each](benchmark::State& state) { run(state, each); })
                ->UseManualTime()
                ->Unit(benchmark::kMicrosecond);
    }
    bool failed() const { return failed_; }

  private:
    /// Google Benchmark comes again with more iterations until it has the time it wants; tensors and plans
    /// are kept until it comes with another benchmark.
    void run(benchmark::State& state, const bench::Benchmark& each) {
        try {
            if (prepared_ != &each) {
                prepared_ = nullptr;
                measurement_.reset();
                measurement_ =
                    std::make_unique<bench::Measurement>(settings_.device, settings_.threads, each);
                prepared_ = &each;
            }
            measurement_->start();
            while (state.KeepRunningBatch(measurement_->launches()))
                state.SetIterationTime(measurement_->run_round());
            for (const auto& [name, value] : measurement_->counters()) state.counters[name] = value;
            state.SetLabel(measurement_->cached() ? "caches" : "memory");
        } catch (const std::exception& error) {
            failed_ = true;
            prepared_ = nullptr;
            state.SkipWithError(error.what());
        }
    }

    Settings settings_;
    std::vector<bench::Benchmark> benchmarks_;
    const bench::Benchmark* prepared_ = nullptr;
    std::unique_ptr<bench::Measurement> measurement_;
    bool failed_ = false;
};

void print_help() {
    fmt::print(
        "bench_kernels [--device auto|cpu|cuda|cuda:N] [--threads N] [options of Google Benchmark]\n\n"
        "Google Benchmark's most useful ones: --benchmark_list_tests, --benchmark_filter=REGEX,\n"
        "--benchmark_min_time=SECONDS, --benchmark_repetitions=N, --benchmark_out=FILE.json\n");
}

Settings parse(int argc, char** argv) {
    std::string device = "auto";
    Settings settings;
    CLI::App app;
    app.set_help_flag();
    app.add_option("--device", device);
    app.add_option("--threads", settings.threads)->check(CLI::PositiveNumber);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        fail_usage("{}", error.what());
    }
    settings.device = parse_device(device);
    return settings;
}

int run(int argc, char** argv) {
    benchmark::Initialize(&argc, argv, print_help);
    const Settings settings = parse(argc, argv);
    const Context context(settings.device, settings.threads);
    benchmark::AddCustomContext("device", backend(settings.device).description());
    benchmark::AddCustomContext("compiler", __VERSION__);
    benchmark::AddCustomContext("threads", std::to_string(context.threads()));
    Runner runner(settings);
    if (benchmark::RunSpecifiedBenchmarks() == 0) fail_usage("no benchmark has such a name");
    benchmark::Shutdown();
    return runner.failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const qstep::Error& error) {
        fmt::print(stderr, "bench_kernels: {}\n", error.what());
        return error.kind() == qstep::ErrorKind::usage ? 2 : 1;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_kernels: {}\n", error.what());
        return 1;
    }
}

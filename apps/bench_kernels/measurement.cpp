#include "apps/bench_kernels/measurement.h"

#include <algorithm>
#include <cmath>

#include "kernels/convert.h"
#include "train/console.h"

namespace qstep::bench {

namespace {

constexpr double kBatchSeconds = 2e-3;  // launching a graph and waiting for it, some 20 us, is then 1 percent
constexpr std::int64_t kMostLaunches = 1000;
constexpr int kLaunchesToEstimate = 16;
constexpr int kHostRounds = 5;
// Half of what is copied; from here on a longer copy is no faster.
constexpr std::int64_t kMostCopied = std::int64_t{256} << 20;
// Kernel time that noise has turned negative, where it is a difference of two.
constexpr double kLeastSeconds = 1e-9;

using Step = std::function<void(Context&)>;

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// Seconds from the first of these launches until the device has done the last.
double timed(Context& context, const Step& step, int launches) {
    const double started = seconds_now();
    for (int i = 0; i < launches; ++i) step(context);
    backend(context.device()).synchronize(context);
    return seconds_now() - started;
}

std::int64_t launches_of_batch(Context& context, const Step& step) {
    if (context.device().kind == DeviceKind::cpu) return 1;
    // The first launch loads the kernel.
    timed(context, step, 1);
    double seconds = timed(context, step, 1);
    if (seconds < kBatchSeconds / 2)
        seconds = timed(context, step, kLaunchesToEstimate) / kLaunchesToEstimate;
    return std::clamp(static_cast<std::int64_t>(kBatchSeconds / seconds), std::int64_t{1}, kMostLaunches);
}

/// In one launch, where the clock cannot stand between two.
Step with_restore(const Work& work) {
    return [&work](Context& context) {
        work.restore(context);
        work.launch(context);
    };
}

}  // namespace

Batch::Batch(Context& context, const Step& step) : Batch(context, step, launches_of_batch(context, step)) {}

Batch::Batch(Context& context, const Step& step, std::int64_t launches)
    : context_(context), launches_(launches) {
    const auto all = [step, launches](Context& c) {
        for (std::int64_t i = 0; i < launches; ++i) step(c);
    };
    captured_ = backend(context.device()).capture(context, all);
}

double Batch::run() {
    return timed(
        context_, [this](Context&) { captured_->launch(1); }, 1);
}

Measurement::Measurement(Device device, int threads, const Benchmark& benchmark)
    : context_(device, threads), tensors_(context_), work_(benchmark.make(context_, tensors_)) {
    const std::int64_t copied = std::clamp<std::int64_t>(work_.bytes / 2, 1, kMostCopied);
    copy_to_ = tensors_.zeros(DType::u8, {copied});
    copy_from_ = tensors_.zeros(DType::u8, {copied});
    context_.workspace().freeze();
    if (work_.prepare) work_.prepare(context_);
    const bool on_gpu = device.kind == DeviceKind::cuda;
    batch_ = std::make_unique<Batch>(context_, on_gpu && work_.restore ? with_restore(work_) : work_.launch);
    if (on_gpu && work_.restore)
        restores_ = std::make_unique<Batch>(context_, work_.restore, batch_->launches());
    copies_ = std::make_unique<Batch>(context_, [this](Context& c) { convert(c, copy_to_, copy_from_); });
    run_round();
    start();
}

void Measurement::start() {
    seconds_.clear();
    copy_seconds_.clear();
}

double Measurement::run_round() {
    if (work_.restore && !restores_) work_.restore(context_);
    double seconds = batch_->run();
    if (restores_) seconds = std::max(kLeastSeconds, seconds - restores_->run());
    seconds_.push_back(seconds / static_cast<double>(batch_->launches()));
    copy_seconds_.push_back(copies_->run() / static_cast<double>(copies_->launches()) /
                            static_cast<double>(2 * copy_to_.count()));
    return seconds;
}

bool Measurement::cached() const {
    const auto cache = backend(context_.device()).cache_bytes();
    return work_.bytes + 2 * copy_to_.count() <= static_cast<std::int64_t>(cache);
}

std::map<std::string, double> Measurement::counters() {
    const double seconds = median(seconds_), bytes = static_cast<double>(work_.bytes);
    std::vector<double> percent(seconds_.size());
    for (std::size_t i = 0; i < percent.size(); ++i)
        percent[i] = 100.0 * copy_seconds_[i] * bytes / seconds_[i];
    std::map<std::string, double> counters{{"elements", static_cast<double>(work_.elements)},
                                           {"bytes", bytes},
                                           {"GB/s", 1e-9 * bytes / seconds},
                                           {"elements/s", static_cast<double>(work_.elements) / seconds},
                                           {"copy_GB/s", 1e-9 / median(copy_seconds_)},
                                           {"percent_of_copy", median(percent)}};
    if (work_.multiply_adds > 0)
        counters["GFLOP/s"] = 2e-9 * static_cast<double>(work_.multiply_adds) / seconds;
    if (context_.device().kind == DeviceKind::cuda && !work_.restore) {
        std::vector<double> host(kHostRounds);
        for (double& each : host)
            each = timed(context_, work_.launch, kLaunchesToEstimate) / kLaunchesToEstimate;
        counters["host_launch_us"] = 1e6 * median(host);
    }
    return counters;
}

}  // namespace qstep::bench

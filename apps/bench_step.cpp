// Times whole training steps: batch preparation, forward, backward, quantization, update.
//
//   bench_step [options of cifar_train] [--profile]
//
// Trains on a small synthetic set in memory. After some steps to warm up it prints one line that begins with
// "ready"; then, for each line with a number N on standard input, it runs N steps and prints one line of N
// times in milliseconds. On a GPU the N steps are timed as one, and each time is their mean. Ends with its
// input. --profile prints the time of each node of the network instead, waiting for the device behind each.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "data/synthetic.h"
#include "engine/error.h"
#include "engine/program.h"
#include "train/command_line.h"
#include "train/console.h"
#include "train/trainer.h"

namespace {

using namespace qstep;

constexpr std::int64_t kBatches = 32;
constexpr int kWarmUpSteps = 5;
constexpr int kProfiledSteps = 20;

// Steps without end, epoch after epoch.
class Stepper {
  public:
    Stepper(Session& session, const DataSplits& data, const Options& options)
        : feed_(make_feed(session, data)), lr_(static_cast<float>(options.lr)) {}

    /// Everything a run does in its steps; milliseconds of each. Where a feed runs ahead, there is one look
    /// at the end, and the steps share the time evenly.
    std::vector<double> run(int steps) {
        if (feed_->runs_ahead()) {
            const double each = timed_run(steps) / steps;
            return std::vector<double>(static_cast<std::size_t>(steps), each);
        }
        std::vector<double> times;
        for (int i = 0; i < steps; ++i) times.push_back(timed_run(1));
        return times;
    }

  private:
    double timed_run(int steps) {
        const double started = seconds_now();
        for (std::int64_t left = steps; left > 0;) {
            if (step_ % kBatches == 0) start_epoch();
            const std::int64_t done = feed_->train(left);
            left -= done;
            step_ += done;
        }
        // A fault in an epoch shows in the next one too: the weights are not finite any more.
        if (const auto fault = feed_->look().fault)
            fail_run("the gradient is not finite in step {}", fault->step + 1);
        return 1e3 * (seconds_now() - started);
    }
    void start_epoch() { feed_->start_epoch({step_ / kBatches, 0, std::vector<float>(kBatches, lr_), {}}); }

    std::unique_ptr<Feed> feed_;
    float lr_;
    std::int64_t step_ = 0;
};

struct NodeTime {
    std::string name;
    double forward = 0.0, backward = 0.0;
};

template <typename Action>
double milliseconds(Context& context, Action&& action) {
    const double started = seconds_now();
    action();
    backend(context.device()).synchronize(context);
    return 1e3 * (seconds_now() - started);
}

void print_profile(Session& session, Stepper& stepper, std::int64_t batch) {
    const Tape& tape = session.training_network(batch).tape();
    std::vector<NodeTime> times;
    for (const Node& node : tape.nodes()) times.push_back({node.name, 0.0, 0.0});
    NodeTime ends{"quantize, update", 0.0, 0.0};
    double step = 0.0;
    Context& context = session.context();
    for (int i = 0; i < kProfiledSteps; ++i) {
        step += stepper.run(1).front() / kProfiledSteps;
        for (std::size_t n = 0; n < times.size(); ++n)
            times[n].forward +=
                milliseconds(context, [&] { tape.nodes()[n].forward(context); }) / kProfiledSteps;
        for (std::size_t n = times.size(); n-- > 0;)
            if (!tape.modes(n).empty())
                times[n].backward +=
                    milliseconds(context, [&] { tape.nodes()[n].backward(context, tape.modes(n)); }) /
                    kProfiledSteps;
        ends.forward +=
            milliseconds(
                context,
                [&] { session.optimizer().quantize(context, session.parameters(), session.state()); }) /
            kProfiledSteps;
        ends.backward +=
            milliseconds(
                context,
                [&] { session.optimizer().update(context, session.parameters(), session.state()); }) /
            kProfiledSteps;
    }
    times.push_back(ends);
    NodeTime sum{"sum", 0.0, 0.0};
    fmt::print("{:<40}{:>12}{:>12}\n", "node", "forward ms", "backward ms");
    for (const NodeTime& time : times) {
        fmt::print("{:<40}{:>12.3f}{:>12.3f}\n", time.name, time.forward, time.backward);
        sum.forward += time.forward;
        sum.backward += time.backward;
    }
    fmt::print("{:<40}{:>12.3f}{:>12.3f}\n", sum.name, sum.forward, sum.backward);
    fmt::print("whole step as one: {:.3f} ms\n", step);
}

void serve(Stepper& stepper) {
    for (std::string line; std::getline(std::cin, line);) {
        int steps = 0;
        const auto [end, status] = std::from_chars(line.data(), line.data() + line.size(), steps);
        if (status != std::errc() || end != line.data() + line.size() || steps < 1)
            fail_usage("standard input takes lines with a number of steps, not '{}'", line);
        fmt::print("{:.3f}\n", fmt::join(stepper.run(steps), " "));
        std::fflush(stdout);
    }
}

int run(std::vector<std::string> arguments) {
    const bool profile = std::erase(arguments, "--profile") > 0;
    const CommandLine command_line = parse_command_line(arguments);
    if (command_line.job() != kTrain) fail_usage("bench_step only trains");
    Options options = command_line.options;
    Context context(parse_device(options.device), static_cast<int>(options.threads),
                    {options.deterministic, options.tf32});
    context.set_eager(options.no_graph);
    const DataSplits data = make_synthetic(kBatches * options.batch_size, 1);
    SessionSettings settings = session_settings(options, data);
    settings.test_batch = 0;
    // The profile times quantization and update one by one.
    settings.keep_quantized = profile;
    Session session(context, settings);
    Stepper stepper(session, data, options);
    stepper.run(kWarmUpSteps);
    if (profile) {
        print_profile(session, stepper, options.batch_size);
        return 0;
    }
    fmt::print("ready {} batch {} {} quant {} threads {} on {}\n", options.model, options.batch_size,
               precision_name(options), name_of(options.codec.kind), context.threads(),
               backend(context.device()).description());
    std::fflush(stdout);
    serve(stepper);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    return qstep::program_main("bench_step", argc, argv, run);
}

// Times whole training steps: batch preparation, forward, backward, quantization, update.
//
//   bench_step [options of cifar_train] [--profile]
//
// Trains on a small synthetic set in memory. After some steps to warm up it prints one line that begins with
// "ready"; then, for each line with a number N on standard input, it runs N steps and prints one line of N
// times in milliseconds. On a GPU the N steps are timed as one, and each time is their mean. Ends with its
// input. --profile prints the time of each node of the network instead, each measured by itself.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
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
constexpr int kProfiledSteps = 20, kProfiledGraphs = 5;

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

/// Work that is timed by itself. On a GPU several launches of it are one graph: waiting for one alone takes
/// longer than most of them run.
class TimedWork {
  public:
    TimedWork(Context& context, std::function<void(Context&)> work)
        : context_(context), launches_(context.device().kind == DeviceKind::cpu ? 1 : kLaunches) {
        captured_ = backend(context.device()).capture(context, [work, n = launches_](Context& c) {
            for (int i = 0; i < n; ++i) work(c);
        });
    }
    void measure() {
        const double started = seconds_now();
        captured_->launch(1);
        backend(context_.device()).synchronize(context_);
        times_.push_back(1e3 * (seconds_now() - started) / launches_);
    }
    /// The median.
    double milliseconds() const {
        std::vector<double> times = times_;
        const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
        std::nth_element(times.begin(), middle, times.end());
        return *middle;
    }

  private:
    static constexpr int kLaunches = 10;

    Context& context_;
    int launches_;
    std::unique_ptr<CapturedStep> captured_;
    std::vector<double> times_;
};

struct NodeTime {
    std::string name;
    std::optional<TimedWork> forward, backward;
};

std::vector<NodeTime> nodes_of(Session& session, std::int64_t batch) {
    Context& context = session.context();
    const Tape& tape = session.training_network(batch).tape();
    std::vector<NodeTime> nodes;
    for (std::size_t n = 0; n < tape.nodes().size(); ++n) {
        const Node& node = tape.nodes()[n];
        NodeTime& time = nodes.emplace_back(NodeTime{node.name, {}, {}});
        time.forward.emplace(context, [&node](Context& c) { node.forward(c); });
        if (!tape.modes(n).empty())
            time.backward.emplace(context,
                                  [&node, &tape, n](Context& c) { node.backward(c, tape.modes(n)); });
    }
    NodeTime& ends = nodes.emplace_back(NodeTime{"quantize, update", {}, {}});
    ends.forward.emplace(context, [&session](Context& c) {
        session.optimizer().quantize(c, session.parameters(), session.state());
    });
    ends.backward.emplace(context, [&session](Context& c) {
        session.optimizer().update(c, session.parameters(), session.state());
    });
    return nodes;
}

void print_profile(Session& session, Stepper& stepper, std::int64_t batch) {
    // First: what is done again and again by itself leaves numbers that no step would.
    const std::vector<double> steps = stepper.run(kProfiledSteps);
    std::vector<NodeTime> nodes = nodes_of(session, batch);
    const bool on_cpu = session.context().device().kind == DeviceKind::cpu;
    for (int i = 0; i < (on_cpu ? kProfiledSteps : kProfiledGraphs); ++i) {
        for (NodeTime& node : nodes) node.forward->measure();
        for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
            if (node->backward) node->backward->measure();
    }
    double forward = 0.0, backward = 0.0;
    const auto line = [](const std::string& name, double first, double second) {
        fmt::print("{:<40}{:>12.4f}{:>12.4f}\n", name, first, second);
    };
    fmt::print("{:<40}{:>12}{:>12}\n", "node", "forward ms", "backward ms");
    for (const NodeTime& node : nodes) {
        const double back = node.backward ? node.backward->milliseconds() : 0.0;
        line(node.name, node.forward->milliseconds(), back);
        forward += node.forward->milliseconds();
        backward += back;
    }
    line("sum", forward, backward);
    fmt::print("whole step as one: {:.4f} ms\n",
               std::accumulate(steps.begin(), steps.end(), 0.0) / kProfiledSteps);
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

// Times a kernel and, in turn with it, a copy that moves the same bytes.
//
// On the CPU a round is one launch. On a GPU it is a captured batch of some milliseconds, so that neither the
// host's launch overhead nor waiting for the device weighs in it; a launch from the host is timed beside it.
// Nothing is moved out of the caches between launches: tensors that fit stay there, for the copy as well.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/bench_kernels/work.h"
#include "engine/backend.h"

namespace qstep::bench {

/// A step that is launched again and again.
class Batch {
  public:
    /// As many launches of `step` as take some milliseconds; on the CPU one.
    Batch(Context& context, const std::function<void(Context&)>& step);
    Batch(Context& context, const std::function<void(Context&)>& step, std::int64_t launches);

    std::int64_t launches() const { return launches_; }
    /// Seconds of the whole batch, waiting for its end included.
    double run();

  private:
    Context& context_;
    std::int64_t launches_;
    std::unique_ptr<CapturedStep> captured_;
};

class Measurement {
  public:
    Measurement(Device device, int threads, const Benchmark& benchmark);

    /// Launches of a round.
    std::int64_t launches() const { return batch_->launches(); }
    /// Seconds that the kernel took in one more round; the copy runs behind it.
    double run_round();

    /// Medians over the rounds since the last call of start(): GB/s and elements/s of the kernel; GB/s of the
    /// copy; percent_of_copy, the median of the rounds' quotients. bytes and elements of a launch, as Work
    /// has them. Where there are multiply-adds, GFLOP/s, two each. On a GPU host_launch_us: microseconds a
    /// launch, launched one by one. A map in the order of Google Benchmark's counters.
    std::map<std::string, double> counters();
    void start();
    /// Whether the caches can keep the tensors of kernel and copy from one round to the next.
    bool cached() const;

  private:
    Context context_;
    Tensors tensors_;
    Work work_;
    Tensor copy_to_, copy_from_;
    std::unique_ptr<Batch> batch_, restores_, copies_;
    std::vector<double> seconds_, copy_seconds_;  // of a launch, of a byte
};

}  // namespace qstep::bench

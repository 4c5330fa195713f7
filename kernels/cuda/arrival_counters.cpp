#include "kernels/cuda/arrival_counters.h"

#include "engine/backend.h"
#include "engine/cuda/runtime.h"

namespace qstep::cuda {

namespace {

class Counters {
  public:
    explicit Counters(const Context& context) : device_(context.device()) {
        constexpr std::size_t kBytes = kArrivalCounters * sizeof(int);
        counters_ = static_cast<int*>(backend(device_).allocate(kBytes));
        QSTEP_CUDA_CHECK(cudaMemsetAsync(counters_, 0, kBytes, stream_of(context)));
    }
    ~Counters() { backend(device_).release(counters_); }
    Counters(const Counters&) = delete;
    Counters& operator=(const Counters&) = delete;
    int* get() const { return counters_; }

  private:
    Device device_;
    int* counters_;
};

}  // namespace

int* arrival_counters(const Context& context) {
    struct Key {
        std::int64_t count = kArrivalCounters;
    };
    return context.plans().get<Counters>(Key{}, [&] { return std::make_shared<Counters>(context); }).get();
}

}  // namespace qstep::cuda

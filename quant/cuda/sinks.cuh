// What becomes of quantized elements: they are stored, or a momentum-SGD update is made with them at once.
//
// A Sink offers ready(), which reads what is the same for all elements; fetch<N>(e), which starts to read
// what elements e .. e+N-1 will need besides their new values; put<N>(e, values, fetched). N is 1 or 4; 4
// needs vectors() and e % 4 == 0. to(e) is the Out (quant/group.h) of elements e, e+1, ... kCodes tells these
// from CodeSink (quant/cuda/code_sink.cuh), which takes codes.
#pragma once

#include "kernels/cuda/device/sgd.cuh"
#include "kernels/cuda/device/vector.cuh"
#include "kernels/sgd.h"

namespace qstep::quant::cuda {

using qstep::cuda::load_floats;
using qstep::cuda::store_floats;

/// out[i] = value puts the value into the sink.
template <typename Sink>
class SinkOut {
  public:
    __device__ SinkOut(const Sink& sink, std::int64_t first) : sink_(sink), first_(first) {}

    class Element {
      public:
        __device__ Element(const Sink& sink, std::int64_t at) : sink_(sink), at_(at) {}
        __device__ void operator=(float value) const {
            const float values[1] = {value};
            sink_.template put<1>(at_, values, sink_.template fetch<1>(at_));
        }

      private:
        const Sink& sink_;
        std::int64_t at_;
    };
    __device__ Element operator[](std::int64_t i) const { return {sink_, first_ + i}; }

  private:
    Sink sink_;
    std::int64_t first_;
};

class StoreSink {
  public:
    static constexpr bool kCodes = false;

    explicit StoreSink(float* out) : out_(out), vectors_(qstep::cuda::aligned_for_vectors(out)) {}

    template <int kCount>
    struct Fetched {};

    __device__ StoreSink ready() const { return *this; }
    __device__ bool vectors() const { return vectors_; }
    __device__ float* to(std::int64_t e) const { return out_ + e; }
    template <int kCount>
    __device__ Fetched<kCount> fetch(std::int64_t) const {
        return {};
    }
    template <int kCount>
    __device__ void put(std::int64_t e, const float (&values)[kCount], const Fetched<kCount>&) const {
        store_floats(out_ + e, values);
    }

  private:
    float* out_;
    bool vectors_;
};

template <bool kNesterov>
class SgdSink {
  public:
    static constexpr bool kCodes = false;

    SgdSink(float* parameters, float* momentum, const float* lr, const SgdSettings& settings)
        : parameters_(parameters),
          momentum_(momentum),
          lr_(lr),
          element_{0.0f, settings.weight_decay, settings.momentum},
          vectors_(qstep::cuda::aligned_for_vectors(parameters, momentum)) {}

    template <int kCount>
    struct Fetched {
        float parameters[kCount], momentum[kCount];
    };

    __device__ SgdSink ready() const {
        SgdSink ready = *this;
        ready.element_.rate = *lr_;
        return ready;
    }
    __device__ bool vectors() const { return vectors_; }
    __device__ SinkOut<SgdSink> to(std::int64_t e) const { return {*this, e}; }
    template <int kCount>
    __device__ Fetched<kCount> fetch(std::int64_t e) const {
        Fetched<kCount> fetched;
        load_floats(fetched.parameters, parameters_ + e);
        load_floats(fetched.momentum, momentum_ + e);
        return fetched;
    }
    template <int kCount>
    __device__ void put(std::int64_t e, const float (&values)[kCount], Fetched<kCount> fetched) const {
#pragma unroll
        for (int i = 0; i < kCount; ++i)
            element_.template update<kNesterov>(fetched.parameters[i], fetched.momentum[i], values[i]);
        store_floats(momentum_ + e, fetched.momentum);
        store_floats(parameters_ + e, fetched.parameters);
    }

  private:
    float *parameters_, *momentum_;
    const float* lr_;
    qstep::cuda::SgdElement element_;
    bool vectors_;
};

}  // namespace qstep::quant::cuda

// The public interface of a CUDA codec, made from one function template that works for every sink.
#pragma once

#include "quant/cuda/code_sink.cuh"
#include "quant/cuda/device_word.h"
#include "quant/cuda/sinks.cuh"
#include "quant/cuda/task.cuh"

namespace qstep::quant::cuda {

/// Derived has `template <class Sink> void run(Context&, const Task&, const Sink&, const Tensor& variance)`
/// for every Sink, and `void decode_stream(Context&, const Task&, const DeviceStream&, float* out)`, whose
/// task has the settings, and the step of the stream.
template <typename Derived>
class SinkCodec : public GradientCodec {
  public:
    SinkCodec(Context& context, const CodecSettings& settings, const Buckets& buckets)
        : GradientCodec(settings, buckets.elements), buckets_(buckets), seed_(context.device()) {
        backend(context.device()).copy_in(context, seed_.address(), &settings.seed, sizeof settings.seed);
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const Task task = make_task(settings(), seed(), buckets_, in, step, variance);
        const float* from = task.in;
        float* to = out.as<float>();
        const std::int64_t count = buckets_.elements;
        QSTEP_CHECK(out.count() == count, "the codec was made for {} elements, got {}", count, out.count());
        QSTEP_CHECK(to == from || to + count <= from || from + count <= to, "out and in overlap in part");
        derived().run(context, task, StoreSink(to), variance);
    }

    void quantize_and_update(Context& context, const UpdateTensors& tensors, const SgdSettings& sgd,
                             const Tensor& step, const Tensor& variance, const Tensor&) override {
        const Task task = make_task(settings(), seed(), buckets_, tensors.gradient, step, variance);
        qstep::detail::check_sgd(tensors.parameters, tensors.momentum, tensors.gradient, tensors.lr);
        auto *parameters = tensors.parameters.as<float>(), *momentum = tensors.momentum.as<float>();
        const float* lr = tensors.lr.as<float>();
        if (sgd.nesterov)
            derived().run(context, task, SgdSink<true>(parameters, momentum, lr, sgd), variance);
        else
            derived().run(context, task, SgdSink<false>(parameters, momentum, lr, sgd), variance);
    }

    bool update_needs_buffer() const override { return false; }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        const Task task = make_task(settings(), seed(), buckets_, in, step, variance);
        const DeviceStream to = device_stream(*this, stream);
        write_stream_header(context, *this, to.bytes, task.step);
        derived().run(context, task, CodeSink(to), variance);
    }

    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        check_tensor(out, "out", DType::f32, {buckets_.elements});
        const DeviceStream from = device_stream(*this, stream);
        derived().decode_stream(context, decoding_task(settings(), buckets_, from.bytes), from,
                                out.as<float>());
    }

  protected:
    const Buckets& buckets() const { return buckets_; }

  private:
    Derived& derived() { return static_cast<Derived&>(*this); }
    const std::int64_t* seed() const { return static_cast<const std::int64_t*>(seed_.address()); }

    Buckets buckets_;
    DeviceWord seed_;
};

}  // namespace qstep::quant::cuda

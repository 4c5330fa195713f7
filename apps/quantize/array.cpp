#include "apps/quantize/array.h"

#include <chrono>
#include <cmath>

#include "engine/backend.h"
#include "engine/error.h"
#include "quant/buckets.h"
#include "quant/entropy.h"

namespace qstep {

namespace {

// The device's side: one gradient at a time.
class Steps {
  public:
    Steps(Context& context, const CodecSettings& settings, std::int64_t count)
        : context_(context),
          codec_(make_codec(context, settings, count)),
          memory_(context.device(), "arena") {
        for (const bool measuring : {true, false}) {
            in_ = memory_.allocate(DType::f32, {count});
            out_ = memory_.allocate(DType::f32, {count});
            step_ = memory_.allocate(DType::i64, {1});
            variance_ = memory_.allocate(DType::f64, {1});
            stream_ = memory_.allocate(DType::u8, {codec_->stream_bytes()});
            if (settings.error_feedback) residual_ = memory_.allocate(DType::f32, {count});
            if (measuring) memory_.commit();
        }
        // What encode() needs besides is what quantize() writes to, and they never run together.
        if (residual_) codec_->set_residual(residual_, out_);
        context.workspace().freeze();
    }

    /// Before the first step.
    void start() {
        if (residual_) device().fill_zero(context_, residual_.data, residual_.bytes());
    }
    /// The step's stream, packed.
    std::vector<std::byte> encode(std::int64_t step, const float* in) {
        set(step, in);
        codec_->encode(context_, stream_, in_, step_, variance_);
        std::vector<std::byte> bytes(stream_.bytes());
        device().copy_out(context_, bytes.data(), stream_.data, bytes.size());
        return bytes;
    }
    /// Returns the seconds in the codec.
    double quantize(std::int64_t step, const float* in, float* out, double& variance) {
        set(step, in);
        device().synchronize(context_);
        const auto started = std::chrono::steady_clock::now();
        codec_->quantize(context_, out_, in_, step_, variance_);
        device().synchronize(context_);
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - started;
        device().copy_out(context_, out, out_.data, out_.bytes());
        device().copy_out(context_, &variance, variance_.data, sizeof variance);
        return passed.count();
    }

  private:
    Backend& device() { return backend(context_.device()); }
    void set(std::int64_t step, const float* in) {
        device().copy_in(context_, in_.data, in, in_.bytes());
        device().copy_in(context_, step_.data, &step, sizeof step);
    }

    Context& context_;
    std::unique_ptr<GradientCodec> codec_;
    Arena memory_;
    Tensor in_, out_, step_, variance_, stream_, residual_;
};

}  // namespace

QuantizedArray quantize_array(Context& context, const CodecSettings& settings, std::span<const float> values,
                              std::int64_t steps) {
    const std::int64_t count = static_cast<std::int64_t>(values.size()) / steps;
    QSTEP_CHECK(count >= 1 && count * steps == static_cast<std::int64_t>(values.size()),
                "{} values in {} steps", values.size(), steps);
    Steps device(context, settings, count);
    QuantizedArray result;
    result.values.resize(values.size());
    device.start();
    for (std::int64_t step = 0; step < steps; ++step) {
        std::vector<std::byte> stream = device.encode(step, values.data() + step * count);
        result.packed_bytes += static_cast<std::int64_t>(stream.size());
        result.entropy_bytes += static_cast<std::int64_t>(compress_stream(context, stream).size());
        if (step == 0) result.stream = std::move(stream);
    }
    device.start();
    for (std::int64_t step = 0; step < steps; ++step) {
        double variance = 0.0;
        result.seconds += device.quantize(step, values.data() + step * count,
                                          result.values.data() + step * count, variance);
        if (!std::isfinite(variance))
            fail_run("{}",
                     settings.error_feedback
                         ? "the residual of error feedback, which grows on codecs this coarse, is beyond "
                           "float32; a smaller --ef-alpha or more --levels may help"
                         : "the numbers are too large: rounding them overflows float32");
        result.variance += variance;
    }
    if (settings.kind != CodecKind::none)
        result.buckets = steps * quant::Buckets(count, settings.bucket_size).count();
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double x = values[i], error = result.values[i] - x;
        result.squared_error += error * error;
        result.squared_norm += x * x;
    }
    return result;
}

}  // namespace qstep

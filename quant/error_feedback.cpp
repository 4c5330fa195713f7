#include "quant/error_feedback.h"

namespace qstep {

namespace {

class ErrorFeedback : public GradientCodec {
  public:
    ErrorFeedback(std::unique_ptr<GradientCodec> codec, std::int64_t count)
        : GradientCodec(codec->settings(), count), codec_(std::move(codec)), count_(count) {}

    void set_residual(const Tensor& residual, const Tensor& buffer) override {
        check_tensor(residual, "residual", DType::f32, {count_});
        if (buffer) check_tensor(buffer, "buffer", DType::f32, {count_});
        residual_ = residual;
        buffer_ = buffer;
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        const quant::FeedbackArrays arrays = arrays_of(out, in);
        compensate(context, arrays, static_cast<float>(settings().ef_alpha));
        codec_->quantize(context, out, out, step, variance);
        keep_rest(context, arrays, static_cast<float>(settings().ef_beta));
    }

    void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                const Tensor& variance) override {
        QSTEP_CHECK(buffer_, "encoding with error feedback has no buffer to work in");
        const quant::FeedbackArrays arrays = arrays_of(buffer_, in);
        compensate(context, arrays, static_cast<float>(settings().ef_alpha));
        codec_->encode(context, stream, buffer_, step, variance);
        codec_->decode(context, buffer_, stream);
        keep_rest(context, arrays, static_cast<float>(settings().ef_beta));
    }

    /// What was applied; the residual stays.
    void decode(Context& context, const Tensor& out, const Tensor& stream) override {
        codec_->decode(context, out, stream);
    }

  private:
    quant::FeedbackArrays arrays_of(const Tensor& out, const Tensor& in) const {
        QSTEP_CHECK(residual_, "error feedback has no residual to work on");
        QSTEP_CHECK(in.count() == count_ && out.count() == count_,
                    "the codec was made for {} elements, got {} and {}", count_, in.count(), out.count());
        float* quantized = out.as<float>();
        const float* gradient = in.as<float>();
        QSTEP_CHECK(quantized + count_ <= gradient || gradient + count_ <= quantized,
                    "error feedback needs the gradient after out is written");
        return {quantized, gradient, residual_.as<float>(), count_};
    }
    static bool on_gpu(const Context& context) { return context.device().kind == DeviceKind::cuda; }
    static void compensate(Context& context, const quant::FeedbackArrays& arrays, float alpha) {
#ifdef QSTEP_WITH_CUDA
        if (on_gpu(context)) return quant::cuda::compensate(context, arrays, alpha);
#endif
        quant::cpu::compensate(context, arrays, alpha);
    }
    static void keep_rest(Context& context, const quant::FeedbackArrays& arrays, float beta) {
#ifdef QSTEP_WITH_CUDA
        if (on_gpu(context)) return quant::cuda::keep_rest(context, arrays, beta);
#endif
        quant::cpu::keep_rest(context, arrays, beta);
    }

    std::unique_ptr<GradientCodec> codec_;
    std::int64_t count_;
    Tensor residual_, buffer_;
};

}  // namespace

std::unique_ptr<GradientCodec> with_error_feedback(std::unique_ptr<GradientCodec> codec,
                                                   std::int64_t element_count) {
    return std::make_unique<ErrorFeedback>(std::move(codec), element_count);
}

}  // namespace qstep

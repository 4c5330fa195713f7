#include "quant/error_feedback.h"

namespace qstep {

namespace {

class ErrorFeedback : public GradientCodec {
  public:
    ErrorFeedback(std::unique_ptr<GradientCodec> codec, std::int64_t count)
        : GradientCodec(codec->settings()), codec_(std::move(codec)), count_(count) {}

    void set_residual(const Tensor& residual) override {
        check_tensor(residual, "residual", DType::f32, {count_});
        residual_ = residual;
    }

    void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                  const Tensor& variance) override {
        QSTEP_CHECK(residual_, "error feedback has no residual to work on");
        QSTEP_CHECK(in.count() == count_ && out.count() == count_,
                    "the codec was made for {} elements, got {} and {}", count_, in.count(), out.count());
        const quant::FeedbackArrays arrays{out.as<float>(), in.as<float>(), residual_.as<float>(), count_};
        QSTEP_CHECK(
            arrays.quantized + count_ <= arrays.gradient || arrays.gradient + count_ <= arrays.quantized,
            "error feedback needs the gradient after out is written");
        compensate(context, arrays, static_cast<float>(settings().ef_alpha));
        codec_->quantize(context, out, out, step, variance);
        keep_rest(context, arrays, static_cast<float>(settings().ef_beta));
    }

  private:
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
    Tensor residual_;
};

}  // namespace

std::unique_ptr<GradientCodec> with_error_feedback(std::unique_ptr<GradientCodec> codec,
                                                   std::int64_t element_count) {
    return std::make_unique<ErrorFeedback>(std::move(codec), element_count);
}

}  // namespace qstep

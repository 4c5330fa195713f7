#include "bindings/c/host_codec.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "engine/backend.h"
#include "engine/error.h"
#include "quant/entropy.h"
#include "quant/stream.h"

namespace qstep {

namespace {

// Far above any memory, far below where sizes in bits overflow.
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

void check_count(std::int64_t count) {
    if (count < 1 || count > kMostElements) fail_usage("an array has 1 to 2^48 elements here, not {}", count);
}

bool overlap(const float* a, const float* b, std::int64_t count) {
    return std::less<>()(a, b + count) && std::less<>()(b, a + count);
}

void check_arrays(const CodecSettings& settings, const HostGradient& gradient) {
    check_count(gradient.count);
    if (gradient.in == nullptr) fail_usage("the array to quantize is NULL");
    if (gradient.step < 0) fail_usage("a step is at least 0, not {}", gradient.step);
    if (settings.error_feedback && gradient.residual == nullptr)
        fail_usage("error feedback needs the residual, an array of zeros before the first step");
    if (!settings.error_feedback && gradient.residual != nullptr)
        fail_usage("a residual has no meaning without error-feedback");
    if (gradient.residual != nullptr && overlap(gradient.residual, gradient.in, gradient.count))
        fail_usage("the residual overlaps the array to quantize");
}

void check_output(const HostGradient& gradient, const float* out) {
    if (out == nullptr) fail_usage("the array for the result is NULL");
    if (out == gradient.in && gradient.residual != nullptr)
        fail_usage("error feedback needs another array for the result than the one to quantize");
    if (out != gradient.in && overlap(out, gradient.in, gradient.count))
        fail_usage("the array for the result overlaps the one to quantize");
    if (gradient.residual != nullptr && overlap(out, gradient.residual, gradient.count))
        fail_usage("the array for the result overlaps the residual");
}

// A context sets OpenMP's defaults for the calling thread, which here belongs to somebody else.
class CallersOpenMp {
  public:
    CallersOpenMp() = default;
    ~CallersOpenMp() {
        omp_set_num_threads(threads_);
        omp_set_dynamic(dynamic_);
    }
    CallersOpenMp(const CallersOpenMp&) = delete;
    CallersOpenMp& operator=(const CallersOpenMp&) = delete;

  private:
    int threads_ = omp_get_max_threads();
    int dynamic_ = omp_get_dynamic();
};

// A process that fork() made has none of its parent's threads, and OpenMP waits for them for ever: there a
// call runs on the thread that makes it.
int g_forks = 0;  // between the process that loaded the library and this one
[[maybe_unused]] const int g_forks_are_counted = pthread_atfork(nullptr, nullptr, [] { ++g_forks; });

int usable_threads(std::int64_t asked) {
    return g_forks == 0 ? static_cast<int>(asked) : 1;
}

}  // namespace

// On the CPU the codec works on the caller's arrays, elsewhere on copies of them.
class HostCodec::Plan {
  public:
    Plan(const HostCodecOptions& options, std::int64_t count)
        : context_(options.device, usable_threads(options.threads)),
          codec_(make_codec(context_, options.codec, count)),
          memory_(options.device, "codec's arena") {
        const bool copies = options.device.kind != DeviceKind::cpu, feedback = options.codec.error_feedback;
        for (const bool measuring : {true, false}) {
            step_ = memory_.allocate(DType::i64, {1});
            variance_ = memory_.allocate(DType::f64, {1});
            stream_ = memory_.allocate(DType::u8, {codec_->stream_bytes()});
            if (copies) in_ = memory_.allocate(DType::f32, {count});
            if (copies || feedback) out_ = memory_.allocate(DType::f32, {count});
            if (feedback) residual_ = memory_.allocate(DType::f32, {count});
            if (measuring) memory_.commit();
        }
        // What encode() needs besides is what quantize() writes to, and they never run together.
        if (feedback) codec_->set_residual(residual_, out_);
        context_.workspace().freeze();
    }

    std::int64_t count() const { return codec_->element_count(); }
    bool fits(std::int64_t count) const { return count == this->count() && forks_ == g_forks; }

    double quantize(const HostGradient& gradient, float* out) {
        const Tensor in = begin(gradient);
        const Tensor to = in_ ? out_ : Tensor{out, DType::f32, {count()}};
        codec_->quantize(context_, to, in, step_, variance_);
        const double variance = end();
        if (in_) device().copy_out(context_, out, to.data, to.bytes());
        keep_residual(gradient);
        return variance;
    }

    double encode(const HostGradient& gradient, bool entropy_coding, std::span<std::byte> room,
                  std::size_t& written) {
        codec_->encode(context_, stream_, begin(gradient), step_, variance_);
        const double variance = end();
        std::vector<std::byte> bytes(stream_.bytes());
        device().copy_out(context_, bytes.data(), stream_.data, bytes.size());
        if (entropy_coding) bytes = compress_stream(context_, bytes);
        if (bytes.size() > room.size())
            fail_usage("the stream has {} bytes; there is room for {}", bytes.size(), room.size());
        std::ranges::copy(bytes, room.begin());
        written = bytes.size();
        keep_residual(gradient);
        return variance;
    }

  private:
    Backend& device() { return backend(context_.device()); }

    Tensor begin(const HostGradient& gradient) {
        Tensor in = in_;
        if (in_)
            device().copy_in(context_, in_.data, gradient.in, in_.bytes());
        else  // a codec does not write to its input
            in = {const_cast<float*>(gradient.in), DType::f32, {count()}};
        if (const std::int64_t wrong = first_non_finite(context_, in); wrong >= 0)
            fail_run("the array holds {} at {}; a codec needs finite numbers", gradient.in[wrong], wrong);
        device().copy_in(context_, step_.data, &gradient.step, sizeof gradient.step);
        if (residual_) device().copy_in(context_, residual_.data, gradient.residual, residual_.bytes());
        return in;
    }

    double end() {
        double variance = 0.0;
        device().copy_out(context_, &variance, variance_.data, sizeof variance);
        if (!std::isfinite(variance))
            fail_run("{}", residual_
                               ? "the residual of error feedback, which grows on codecs this coarse, is "
                                 "beyond float32; a smaller ef-alpha or more levels may help"
                               : "the numbers are too large: rounding them overflows float32");
        return variance;
    }

    void keep_residual(const HostGradient& gradient) {
        if (residual_) device().copy_out(context_, gradient.residual, residual_.data, residual_.bytes());
    }

    int forks_ = g_forks;
    Context context_;
    std::unique_ptr<GradientCodec> codec_;
    Arena memory_;
    Tensor step_, variance_, stream_, in_, out_, residual_;
};

HostCodec::HostCodec(const HostCodecOptions& options) : options_(options) {
    backend(options.device);
}

HostCodec::~HostCodec() = default;

HostCodec::Plan& HostCodec::plan_for(std::int64_t count) {
    if (!plan_ || !plan_->fits(count)) {
        const CallersOpenMp kept;
        plan_.reset();  // before its successor is allocated
        plan_ = std::make_unique<Plan>(options_, count);
    }
    return *plan_;
}

double HostCodec::quantize(const HostGradient& gradient, float* out) {
    check_arrays(options_.codec, gradient);
    check_output(gradient, out);
    const std::scoped_lock lock(in_use_);
    return plan_for(gradient.count).quantize(gradient, out);
}

double HostCodec::encode(const HostGradient& gradient, std::span<std::byte> room, std::size_t& written) {
    check_arrays(options_.codec, gradient);
    const std::scoped_lock lock(in_use_);
    return plan_for(gradient.count).encode(gradient, options_.entropy_coding, room, written);
}

std::int64_t HostCodec::stream_bytes(std::int64_t count) const {
    check_count(count);
    return quant::stream_layout(options_.codec, count).bytes();
}

void decode_on_host(std::span<const std::byte> stream, int threads, std::span<float> out) {
    const StreamHeader header = read_stream_header(stream);
    if (header.elements != static_cast<std::int64_t>(out.size()))
        fail_usage("the stream has {} elements; there is room for {}", header.elements, out.size());
    const CallersOpenMp kept;
    const Context context(Device{}, usable_threads(threads));
    std::ranges::copy(decode_stream(context, stream), out.begin());
}

}  // namespace qstep

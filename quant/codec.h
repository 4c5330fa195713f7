// Gradient codecs: lossy maps of the whole flat gradient onto few values a bucket.
//
// The gradient is cut into buckets of `bucket_size` consecutive elements (the last may be shorter; -1: one
// bucket). Every bucket gets its own level values l_0 < l_1 < ...; an element x between the neighbours l and
// r becomes r with probability (x-l)/(r-l), else l, so E[q] = x and the variance of q is (x-l)(r-x). Formulas
// and sources, and what is biased at the ends of a range, are in quant/standard.h, smart.h, random_points.h,
// hadamard.h, exponential.h, qsgd.h (also terngrad), sign.h, natural.h, dorefa.h and fixed.h. `sign` rounds
// to its one neighbour and reports the squared error.
//
// Determinism: the draw for element e is word e of RoundingStream{seed, Purpose::rounding, step}, sums are
// added in one documented order (quant/group.h), so results are bitwise the same for every number of threads,
// vector width and device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/context.h"
#include "engine/tensor.h"
#include "kernels/sgd.h"

namespace qstep {

/// The numbers are those in streams (quant/stream.h): new kinds go to the end.
enum class CodecKind : std::uint8_t {
    none,
    standard,
    smart,
    hadamard,
    exponential,
    qsgd,
    terngrad,
    sign,
    natural,
    dorefa,
    fixed
};
/// How many kinds there are.
inline constexpr std::uint32_t kCodecCount = 11;

/// Every kind, in the order of the enumeration.
std::vector<CodecKind> all_codecs();
/// "none", "standard", ... Any other text is a usage error that names the nearest one.
CodecKind parse_codec(std::string_view text);
/// What parse_codec() takes.
const char* name_of(CodecKind kind);
/// All of them, in the order of CodecKind.
std::span<const std::string_view> codec_names();

/// `nearest` puts the constant 1/2 in the place of the uniform draw: always to the nearer neighbour, to the
/// upper one from half way. Not unbiased.
enum class Rounding : std::uint8_t { stochastic, nearest };

/// "stochastic" or "nearest"; any other text is a usage error.
Rounding parse_rounding(std::string_view text);
/// What parse_rounding() takes.
const char* name_of(Rounding rounding);

/// What qsgd divides a bucket by: its Euclidean norm or its largest magnitude.
enum class Norm : std::uint8_t { l2, max };

/// Where standard has its levels: evenly spaced, or drawn at random (quant/random_points.h).
enum class Points : std::uint8_t { even, random };

/// How smart places its levels: from a sample of the bucket, from all of it, or from a histogram of it
/// (quant/smart.h, quant/histogram.h).
enum class Solver : std::uint8_t { sample, exact, histogram };

/// "sample", "exact" or "histogram"; any other text is a usage error.
Solver parse_solver(std::string_view text);
/// What parse_solver() takes.
const char* name_of(Solver solver);

/// "l2" or "max", "even" or "random"; any other text is a usage error.
Norm parse_norm(std::string_view text);
/// What parse_norm() takes.
const char* name_of(Norm norm);
/// "even" or "random"; any other text is a usage error.
Points parse_points(std::string_view text);
/// What parse_points() takes.
const char* name_of(Points points);

/// Which codec, and everything that its result hangs on besides the gradient and the step.
struct CodecSettings {
    CodecKind kind = CodecKind::none;
    std::int64_t levels = 16;
    /// Elements of a bucket; -1: the whole gradient is one.
    std::int64_t bucket_size = 512;
    Rounding rounding = Rounding::stochastic;
    Solver solver = Solver::sample;  // smart
    /// smart's sample: this share of a bucket is looked at to place the levels, at least 512 elements.
    double smart_candidates_percent = 1.0;
    Points points = Points::even;  // standard
    Norm qsgd_norm = Norm::l2;
    /// fixed: integer bits, the sign among them, and fraction bits.
    std::int64_t fixed_il = 2, fixed_fl = 14;
    /// What rounding took away is added to later gradients (quant/error_feedback.h).
    bool error_feedback = false;
    /// Share of the residual that joins the gradient, and share of it that lasts, both in [0, 1].
    double ef_alpha = 1.0, ef_beta = 1.0;
    std::uint64_t seed = 0;
};

/// Whether the codec has as many levels as settings say; terngrad, sign, natural and fixed have a number of
/// their own, and `none` has none.
bool takes_levels(CodecKind kind);

/// Usage error, one sentence, for: fewer than 2 levels, or 3 for qsgd; more than 65,536 (a code is at most
/// two bytes), 256 for smart and random points (a fit holds them all) or 128 for exponential (2^-64 of the
/// largest magnitude is nothing beside it); an odd number of levels for exponential; a bucket size of 0 or
/// below -1; a share of candidates outside (0, 100]; fixed-point numbers without an integer bit, with a
/// negative number of fraction bits or more than 16 bits in all; alpha or beta outside [0, 1]. Each looks at
/// what concerns it; `none` at nothing, and it takes no error feedback.
void validate(const CodecSettings& settings);

/// What momentum SGD works on: f32 [n], and the learning rate, f32 [1], in device memory.
struct UpdateTensors {
    Tensor parameters, momentum, gradient, lr;
};

/// A codec for gradients of one length, for one thread.
class GradientCodec {
  public:
    virtual ~GradientCodec() = default;

    /// out[e] = the level value that in[e] is rounded to. out, in: f32 [n], n the count given to make_codec;
    /// out may be in. step: i64 [1] in device memory, read when the kernel runs; its lower 32 bits key the
    /// draws. variance: f64 [1], overwritten with the sum of (x-l)(r-x), not divided by n: the variance that
    /// stochastic rounding has, also when the rounding is `nearest`. 0 for none.
    ///
    /// Answers for odd buckets. All codecs: an all-zero bucket comes out as +0 with variance 0; a bucket
    /// shorter than the number of levels is like any other. A single element comes out as itself, but with
    /// natural and fixed, whose values are the same for all buckets. Constant bucket: hadamard, exponential,
    /// natural, fixed and, with the l2 norm, qsgd round it as they do any vector, the others return it. A
    /// bucket with
    /// an infinity or a NaN comes out as NaN throughout (none: as it is) and makes the variance NaN; in no
    /// other case is the variance NaN, so only then need a caller ask first_non_finite(). Allocates nothing.
    virtual void quantize(Context& context, const Tensor& out, const Tensor& in, const Tensor& step,
                          const Tensor& variance) = 0;

    /// quantize(), then sgd_update() (kernels/sgd.h) with the result, bit for bit; the gradient itself stays
    /// as it is. Where update_needs_buffer(), the quantized gradient goes through `buffer`: f32 [n]; else it
    /// touches no memory and `buffer` may be absent. No aliasing. A gradient that is not finite makes the
    /// variance NaN as in quantize(), and parameters and momentum of its bucket too: whoever sees it stops
    /// and goes back to what was saved before. Allocates nothing.
    virtual void quantize_and_update(Context& context, const UpdateTensors& tensors, const SgdSettings& sgd,
                                     const Tensor& step, const Tensor& variance, const Tensor& buffer);
    /// Whether quantize_and_update() goes through its buffer.
    virtual bool update_needs_buffer() const { return true; }

    /// Where a codec with error feedback keeps its residual: f32 [n] in device memory, zero before the first
    /// step, read and written by quantize() and encode(). To be set before; other codecs have none and throw.
    /// buffer: f32 [n], what encode() alone needs besides.
    virtual void set_residual(const Tensor& residual, const Tensor& buffer = {});

    /// Bytes of the packed stream (quant/stream.h), the same for every gradient.
    std::int64_t stream_bytes() const;

    /// What quantize() would write to `out`, as a packed stream instead: u8 [stream_bytes()], 16-byte
    /// aligned. in, step, variance as there. Allocates nothing.
    virtual void encode(Context& context, const Tensor& stream, const Tensor& in, const Tensor& step,
                        const Tensor& variance) = 0;

    /// out: f32 [n], bitwise what quantize() would have written. The stream is one that encode() of a codec
    /// with the same kind, levels, bucket size, seed and element count made; the step is the stream's. The
    /// CPU checks that, and every code, and throws a run error. CUDA cannot look without waiting: there the
    /// values of another stream are without meaning, but nothing outside of out is written and nothing
    /// outside of the stream read. Streams of unknown origin are decode_stream()'s (quant/stream.h).
    /// Allocates nothing.
    virtual void decode(Context& context, const Tensor& out, const Tensor& stream) = 0;

    const CodecSettings& settings() const { return settings_; }
    /// The n of all gradients.
    std::int64_t element_count() const { return element_count_; }

  protected:
    /// settings: validated.
    GradientCodec(const CodecSettings& settings, std::int64_t element_count)
        : settings_(settings), element_count_(element_count) {}

  private:
    CodecSettings settings_;
    std::int64_t element_count_;
};

/// Validates, plans for gradients of `element_count` >= 1 elements and reserves workspace in `context`, which
/// must not be frozen yet. With error_feedback the codec is wrapped in it.
std::unique_ptr<GradientCodec> make_codec(Context& context, const CodecSettings& settings,
                                          std::int64_t element_count);

/// The lowest index of an infinity or a NaN in `tensor` (f32), or -1. Waits for the device. One read pass.
std::int64_t first_non_finite(Context& context, const Tensor& tensor);

}  // namespace qstep

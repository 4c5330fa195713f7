/* Gradient codecs behind an interface in C: arrays of float32 in host memory, to quantized values or to
 * packed streams and back. The numbers are those of the programs `quantize` and `cifar_train`, bit for bit.
 *
 * A codec is made from options, pairs of texts. The names are those of the programs' options without dashes:
 *
 * - quant: none, standard, smart, hadamard, exponential, qsgd, terngrad, sign, natural, dorefa or fixed; must
 *   be there
 * - levels, bucket-size, rounding, solver, smart-candidates, points, qsgd-norm, fixed-il, fixed-fl,
 *   error-feedback, ef-alpha, ef-beta: as `quantize --help` has them, with the same defaults; a switch is
 *   "true" or "false"
 * - seed: of the random numbers that rounding takes; 0
 * - threads: 0, the default, stands for all processors; results do not depend on them
 * - device: cpu (the default), auto, cuda or cuda:N; arrays lie in host memory all the same
 * - entropy-coding: "true": streams are entropy-coded where that makes them shorter and they have at most
 *   1 GiB; "false"
 *
 * Every function that can fail returns a qstep_status; after a failure, qstep_last_error() has one sentence
 * about it. Bad arguments are found before anything is written. No exception leaves the library.
 *
 * Threads: all functions may be called from any thread. Calls with the same codec run one after the other,
 * calls with different codecs at the same time. A codec keeps memory for the last length it was used with.
 * A process that fork() made of one with this library may go on with its codecs and make others; whatever
 * `threads` is, its calls run on one thread, because OpenMP's do not survive a fork. fork() must not happen
 * during a call.
 *
 *     qstep_option options[] = {{"quant", "standard"}, {"levels", "8"}};
 *     qstep_codec* codec = NULL;
 *     if (qstep_codec_create(options, 2, &codec) != QSTEP_OK) return complain(qstep_last_error());
 *     status = qstep_quantize(codec, gradient, n, step, NULL, rounded, &variance);
 *     qstep_codec_destroy(codec);
 */
#ifndef QSTEP_H
#define QSTEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what the library shows. */
#define QSTEP_API __attribute__((visibility("default")))

/* Version of this interface. It grows by functions and options under the same number; another number means
 * that programs have to be compiled anew. */
#define QSTEP_API_VERSION 1

/* QSTEP_API_VERSION of the library. */
QSTEP_API int qstep_api_version(void);
/* The library's own version, such as "0.1.0". */
QSTEP_API const char* qstep_version(void);

/* What came of a call. */
typedef enum qstep_status {
    QSTEP_OK = 0,
    /* The arguments make no sense; the sentence says what would. */
    QSTEP_INVALID = 1,
    /* Data, memory or device did not do what was needed. */
    QSTEP_FAILED = 2,
    /* A broken promise inside the library. */
    QSTEP_INTERNAL = 3
} qstep_status;

/* What the last call that failed in this thread said; "" if none has. Valid until the next one fails. */
QSTEP_API const char* qstep_last_error(void);

/* The name of the codec with this number, counted from 0; NULL behind the last. */
QSTEP_API const char* qstep_codec_name(int number);

/* A codec's option and its value, both texts. */
typedef struct qstep_option {
    const char* name;
    const char* value;
} qstep_option;

/* A codec and its memory. */
typedef struct qstep_codec qstep_codec;

/* Checks all options together and makes the codec. Where it fails, *codec becomes NULL. */
QSTEP_API qstep_status qstep_codec_create(const qstep_option* options, size_t option_count,
                                          qstep_codec** codec);
/* Gives the codec's memory back; NULL is allowed. */
QSTEP_API void qstep_codec_destroy(qstep_codec* codec);

/* out[e] = the level that in[e] is rounded to. in, out: [count], count >= 1; out may be in (not with error
 * feedback), but may not overlap it otherwise. Infinities and NaN are refused. step, at least 0: its lower 32
 * bits key the random numbers; another step, other draws. variance: the sum of (x-l)(r-x), what rounding
 * adds; NULL: not wanted.
 *
 * residual: [count], with error feedback, else NULL. Zeros before the first step; read and written by each
 * step. After a failure it is as it was; where the sum of gradient and residual overflows, `out` then has no
 * meaning. */
QSTEP_API qstep_status qstep_quantize(qstep_codec* codec, const float* in, int64_t count, int64_t step,
                                      float* residual, float* out, double* variance);

/* Bytes that a stream of `count` elements has at most; without entropy coding, exactly. */
QSTEP_API qstep_status qstep_stream_bytes(qstep_codec* codec, int64_t count, int64_t* bytes);

/* What qstep_quantize() would write to `out`, as a packed stream instead, which is what `quantize --codes`
 * writes. stream: room for `capacity` bytes, qstep_stream_bytes() of them are always enough; *written: its
 * length. The others as there; on too little room, the residual is as it was. */
QSTEP_API qstep_status qstep_encode(qstep_codec* codec, const float* in, int64_t count, int64_t step,
                                    float* residual, void* stream, int64_t capacity, int64_t* written,
                                    double* variance);

/* How many elements the `bytes` bytes at `stream` stand for. They may be anything: what is no stream is
 * refused. */
QSTEP_API qstep_status qstep_stream_elements(const void* stream, int64_t bytes, int64_t* elements);

/* out: [count], bitwise what qstep_quantize() gave; count: the stream's own. threads: 0 for all processors.
 * The bytes may be anything, as above; memory is proportional to them, or to the elements of an entropy-coded
 * stream. */
QSTEP_API qstep_status qstep_decode(const void* stream, int64_t bytes, int threads, float* out,
                                    int64_t count);

#ifdef __cplusplus
}
#endif

#endif

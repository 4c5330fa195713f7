// The driver of the direct convolution: shares the batch among threads and calls the loops of
// direct_conv_kernels.h image by image.
#include "kernels/cpu/direct_conv.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>

#include "kernels/cpu/direct_conv_passes.h"

namespace qstep::cpu::direct {

namespace {

#ifdef QSTEP_DIRECT_CONV
bool processor_has(DType dtype) {
    const bool base = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (dtype == DType::f32) return base;
    return dtype == DType::bf16 && base && __builtin_cpu_supports("avx512bf16");
}
const Kernels& kernels_of(bool narrow) {
    return narrow ? bf16_kernels() : f32_kernels();
}
#else
bool processor_has(DType) {
    return false;
}
const Kernels& kernels_of(bool) {
    fail_run("the direct convolution is not part of a build for this processor");
}
#endif

void clear(void* memory, std::int64_t count) {
    std::memset(memory, 0, static_cast<std::size_t>(count) * sizeof(Word));
}

// One image after the other of a tensor [N, ...], which may be absent.
struct Images {
    std::byte* base = nullptr;
    std::int64_t bytes = 0;

    Images() = default;
    explicit Images(const Tensor& t)
        : base(static_cast<std::byte*>(t.data)),
          bytes(t ? static_cast<std::int64_t>(t.bytes()) / t.shape[0] : 0) {}
    std::byte* at(std::int64_t n) const { return base ? base + n * bytes : nullptr; }
};

// What is worked out once per shape and type.
struct Prepared {
    Plan plan;
    Sizes sizes;
    std::vector<DataPass> passes;  // of the data gradient; empty for three input channels, which have none
};

struct PreparedKey {
    Conv2dShape shape;
    std::int64_t narrow;
};

const Prepared& prepare(const Context& context, const Conv2dShape& shape, bool narrow) {
    return context.plans().get<Prepared>(PreparedKey{shape, narrow}, [&] {
        auto prepared = std::make_shared<Prepared>();
        prepared->plan = make_plan(shape, narrow);
        prepared->sizes = sizes_of(prepared->plan);
        if (shape.in_channels % kLanes == 0) prepared->passes = data_passes(prepared->plan);
        return prepared;
    });
}

struct Share {
    std::int64_t begin, end;
};
Share share_of(std::int64_t batch, int thread, int threads) {
    return {batch * thread / threads, batch * (thread + 1) / threads};
}

// Image n of each, to be fetched within `operations` multiply-adds. Outputs are among them: a store that
// misses first fetches its line.
Prefetch prefetch_of(std::initializer_list<const Images*> tensors, std::int64_t n, std::int64_t end,
                     std::int64_t operations) {
    Prefetch prefetch;
    std::int64_t bytes = 0;
    for (const Images* images : tensors) {
        if (!images->base || n >= end) continue;
        prefetch.streams[prefetch.count++] = {reinterpret_cast<const char*>(images->at(n)), images->bytes};
        bytes += images->bytes;
    }
    prefetch.bytes_per_operation = static_cast<float>(bytes) / static_cast<float>(operations);
    return prefetch;
}

// What the threads of one backward call share.
struct Backward {
    const Plan& plan;
    const Kernels& kernels;
    const OutputGradient& gradient;
    std::span<const DataPass> passes;
    const Word* weights;
    Images dz, y, x, dx;
    bool accumulate_dx;
};

FillGradient fill_of(const Backward& call, const ThreadScratch& scratch, std::int64_t n) {
    const Plan& plan = call.plan;
    const Conv2dShape& s = plan.shape;
    FillGradient fill{};
    fill.dz = call.dz.at(n);
    fill.y = call.y.at(n);
    fill.a = call.gradient.a;
    fill.b = call.gradient.b;
    fill.c = call.gradient.c;
    fill.rows = s.out_height();
    fill.columns = s.out_width();
    fill.channels = s.out_channels;
    fill.padded_layout = plan.gradient;
    if (call.dx.base || !plan.narrow)
        fill.padded = scratch.gradient + plan.gradient_first_row * plan.gradient.row +
                      plan.gradient_first_pixel * plan.gradient.words;
    if (call.x.base && plan.narrow) {
        fill.even = scratch.even + plan.dy_first_pair * kLanes;
        fill.odd = scratch.odd + plan.dy_first_pair * kLanes;
        fill.pair_row = plan.dy_pairs * kLanes;
        fill.pair_block = s.out_height() * fill.pair_row;
    }
    return fill;
}

// Zeroes dx at the positions that no tap reaches.
void zero_positions(const DataPass& d, std::byte* dx, std::int64_t element) {
    for (std::int64_t r = 0; r < d.pass.rows; ++r)
        for (std::int64_t q = 0; q < d.pass.columns; ++q) {
            const std::int64_t at = d.first + r * d.pass.out_row + q * d.pass.out_pixel;
            std::memset(dx + at * element, 0, static_cast<std::size_t>(d.pass.channels * element));
        }
}

void data_gradient(const Backward& call, const ThreadScratch& scratch, std::int64_t n, Prefetch& prefetch) {
    const std::int64_t element = call.plan.narrow ? sizeof(bf16) : sizeof(float);
    for (const DataPass& d : call.passes) {
        if (!d.reached) {
            if (!call.accumulate_dx) zero_positions(d, call.dx.at(n), element);
            continue;
        }
        ConvPass pass = d.pass;
        pass.source = scratch.gradient;
        pass.weights = call.weights + d.weights;
        pass.out = call.dx.at(n) + d.first * element;
        pass.accumulate = call.accumulate_dx;
        pass.prefetch = &prefetch;
        call.kernels.convolve(pass);
    }
}

void weight_gradient(const Backward& call, const ThreadScratch& scratch, std::int64_t n, Prefetch& prefetch) {
    const Plan& plan = call.plan;
    const Conv2dShape& s = plan.shape;
    if (plan.narrow)
        call.kernels.fill_pairs(
            {call.x.at(n), s.height, s.width, s.in_channels, s.stride, scratch.pairs, plan.x_pairs});
    for (std::size_t c = 0; c < plan.columns.size(); ++c) {
        if (plan.columns[c].taps == 0) continue;
        WeightPass pass = weight_pass(plan, scratch, c);
        if (!plan.narrow)
            pass.x = reinterpret_cast<const Word*>(call.x.at(n)) + plan.columns[c].first * s.in_channels;
        pass.prefetch = &prefetch;
        call.kernels.weight_gradient(pass);
    }
}

void backward_images(const Backward& call, const ThreadScratch& scratch, const Share& share) {
    std::int64_t operations = 0;
    for (const DataPass& d : call.passes)
        if (d.reached) operations += operations_of(d.pass);
    if (call.x.base)
        for (std::size_t c = 0; c < call.plan.columns.size(); ++c)
            if (call.plan.columns[c].taps > 0)
                operations += operations_of(weight_pass(call.plan, scratch, c));
    for (std::int64_t n = share.begin; n < share.end; ++n) {
        Prefetch prefetch = prefetch_of({&call.dz, &call.y, &call.x, &call.dx}, n + 1, share.end, operations);
        call.kernels.fill_gradient(fill_of(call, scratch, n));
        if (call.dx.base) data_gradient(call, scratch, n, prefetch);
        if (call.x.base) weight_gradient(call, scratch, n, prefetch);
    }
}

}  // namespace

bool supports(const Conv2dShape& s, DType dtype) {
    return processor_has(dtype) && s.batch >= 1 && s.kernel_h >= 1 && s.kernel_h <= kMaxTaps &&
           s.kernel_w >= 1 && s.kernel_w <= kMaxTaps && s.stride >= 1 && s.stride <= kMaxStride &&
           s.pad >= 0 && s.pad < std::min(s.kernel_h, s.kernel_w) && s.out_height() >= 1 &&
           s.out_width() >= 1 && s.out_channels % kLanes == 0 &&
           (s.in_channels % kLanes == 0 || s.in_channels == 3);
}

std::size_t workspace_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    return total_bytes(prepare(context, shape, dtype == DType::bf16).sizes, context.threads());
}

void forward(const Context& context, void* workspace, const Conv2dShape& shape, const Tensor& y,
             const Tensor& x, const Tensor& w, MomentPartials* moments) {
    const Prepared& prepared = prepare(context, shape, x.dtype == DType::bf16);
    const Plan& plan = prepared.plan;
    const Sizes& sizes = prepared.sizes;
    const Kernels& kernels = kernels_of(plan.narrow);
    auto* weights = static_cast<Word*>(workspace);
    const std::int64_t taps = shape.kernel_h * shape.kernel_w, channels = shape.out_channels;
    const WeightView view{w.as<float>(), channels,       shape.in_channels * taps,   shape.in_channels,
                          taps,          shape.kernel_w, plan.in_channels_per_block, plan.narrow};
    const Images xs(x), ys(y);
    if (moments) std::fill_n(moments->count, moments->blocks, 0);

#pragma omp parallel num_threads(context.threads())
    {
        const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const ThreadScratch scratch = thread_scratch(workspace, sizes, thread);
        pack_weights(weights, view, plan.input_taps, thread, threads);
        clear(scratch.input, sizes.input);
        const Share share = share_of(shape.batch, thread, threads);
        ConvPass pass = forward_pass(plan, scratch, weights);
        Moments mine;
        if (moments) {
            mine = {moments->shift + thread * channels, moments->sum + thread * channels,
                    moments->square_sum + thread * channels, true};
            std::fill_n(mine.sum, channels, 0.0);
            std::fill_n(mine.square_sum, channels, 0.0);
            moments->count[thread] = (share.end - share.begin) * shape.out_height() * shape.out_width();
            pass.moments = &mine;
        }
#pragma omp barrier
        for (std::int64_t n = share.begin; n < share.end; ++n) {
            Prefetch prefetch = prefetch_of({&xs, &ys}, n + 1, share.end, operations_of(pass));
            kernels.fill_input({xs.at(n), shape.height, shape.width, shape.in_channels, shape.stride,
                                shape.pad, shape.kernel_h, scratch.input, plan.input});
            pass.out = ys.at(n);
            pass.prefetch = &prefetch;
            kernels.convolve(pass);
            mine.first = false;
        }
    }
}

void backward(const Context& context, void* workspace, const Conv2dShape& shape, const Tensor& dx,
              GradMode dx_mode, const Tensor& dw, GradMode dw_mode, const OutputGradient& gradient,
              const Tensor& x, const Tensor& w) {
    const bool want_dx = dx_mode != GradMode::skip, want_dw = dw_mode != GradMode::skip;
    QSTEP_CHECK(!want_dx || shape.in_channels % kLanes == 0,
                "the direct convolution has no data gradient for {} input channels", shape.in_channels);
    const Prepared& prepared = prepare(context, shape, gradient.dz.dtype == DType::bf16);
    const Plan& plan = prepared.plan;
    const Sizes& sizes = prepared.sizes;
    auto* weights = static_cast<Word*>(workspace);
    const std::span<const DataPass> passes =
        want_dx ? std::span(prepared.passes) : std::span<const DataPass>();
    const std::int64_t taps = shape.kernel_h * shape.kernel_w;
    const WeightView view{want_dx ? w.as<float>() : nullptr, shape.in_channels, taps,   shape.out_channels,
                          shape.in_channels * taps,          shape.kernel_w,    kLanes, plan.narrow};
    const Backward call{plan,
                        kernels_of(plan.narrow),
                        gradient,
                        passes,
                        weights,
                        Images(gradient.dz),
                        Images(gradient.y),
                        want_dw ? Images(x) : Images(),
                        want_dx ? Images(dx) : Images(),
                        dx_mode == GradMode::accumulate};
    float* to = want_dw ? dw.as<float>() : nullptr;
    float* partial = thread_scratch(workspace, sizes, 0).dw;

#pragma omp parallel num_threads(context.threads())
    {
        const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        const ThreadScratch scratch = thread_scratch(workspace, sizes, thread);
        for (const DataPass& d : passes)
            if (d.reached) pack_weights(weights + d.weights, view, d.taps, thread, threads);
        clear(scratch.gradient, sizes.gradient);
        clear(scratch.even, sizes.dy_pairs);
        clear(scratch.odd, sizes.dy_pairs);
        clear(scratch.dw, sizes.dw);
#pragma omp barrier
        backward_images(call, scratch, share_of(shape.batch, thread, threads));
#pragma omp barrier
        if (want_dw)
            unpack_weight_gradient(to, dw_mode == GradMode::accumulate, partial, threads, dw_step(sizes),
                                   plan, thread, threads);
    }
}

}  // namespace qstep::cpu::direct

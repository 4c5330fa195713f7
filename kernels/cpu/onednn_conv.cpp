#include "kernels/cpu/onednn_conv.h"

#include <algorithm>
#include <memory>

#include "kernels/activation.h"
#include "kernels/convert.h"
#include "kernels/cpu/onednn_operation.h"
#include "kernels/cpu/onednn_version.h"
#include "kernels/cpu/scratch.h"

namespace qstep::cpu::onednn {

namespace {

enum class Pass : std::int64_t { forward, backward_data, backward_weights };

struct ConvKey {
    Conv2dShape shape;
    Pass pass;
    std::int64_t dtype;
    std::int64_t has_bias;
};

// A pass over one shape: the convolution, and the copy between our weights (or their gradient) and the layout
// the convolution wants. `dtype` is what the convolution computes on, f32 where bf16 is not to be had.
struct ConvPlan {
    DType dtype = DType::f32;
    Operation convolution, reorder_weights, accumulate_weights;
    std::size_t weight_bytes = 0, scratchpad_bytes = 0;
};

struct Descriptions {
    DType dtype = DType::f32;
    Desc src, weights, dst, scratchpad;
    dnnl::primitive primitive;
};

std::string name_of(const Conv2dShape& s, Pass pass) {
    const char* what = pass == Pass::forward         ? "convolution"
                       : pass == Pass::backward_data ? "convolution's data gradient"
                                                     : "convolution's weight gradient";
    return fmt::format("the {} of x {}, w {}, stride {}, padding {}", what, s.x().to_string(),
                       s.w().to_string(), s.stride, s.pad);
}

Desc bias_desc(const Conv2dShape& s) {
    return Desc({s.out_channels}, Type::f32, Tag::x);
}

Desc weights_desc(const Conv2dShape& s, Type type, Tag layout) {
    return Desc({s.out_channels, s.in_channels, s.kernel_h, s.kernel_w}, type, layout);
}

// Empty (no primitive) where the library has no implementation for the type.
Descriptions describe(const dnnl::engine& engine, const ConvKey& key, DType dtype) {
    const Conv2dShape& s = key.shape;
    const Type type = type_of(dtype);
    ConvolutionArguments a;
    a.src = Desc({s.batch, s.in_channels, s.height, s.width}, type, Tag::nhwc);
    a.dst = Desc({s.batch, s.out_channels, s.out_height(), s.out_width()}, type, Tag::nhwc);
    a.weights = weights_desc(s, type, Tag::any);
    if (key.has_bias) a.bias = bias_desc(s);
    a.strides = {s.stride, s.stride};
    a.padding = {s.pad, s.pad};

    const auto forward = describe_forward(engine, a, attributes());
    if (!forward) return {};
    Descriptions result;
    result.dtype = dtype;
    result.src = a.src;
    result.dst = a.dst;
    if (key.pass == Pass::forward) {
        result.weights = forward.weights_desc();
        result.scratchpad = forward.scratchpad_desc();
        result.primitive = dnnl::convolution_forward(forward);
    } else if (key.pass == Pass::backward_data) {
        const auto backward = describe_backward_data(engine, a, attributes(), forward);
        if (!backward) return {};
        result.weights = backward.weights_desc();
        result.scratchpad = backward.scratchpad_desc();
        result.primitive = dnnl::convolution_backward_data(backward);
    } else {
        a.weights = weights_desc(s, Type::f32, Tag::any);
        const auto backward = describe_backward_weights(engine, a, attributes(), forward);
        if (!backward) return {};
        result.weights = backward.diff_weights_desc();
        result.scratchpad = backward.scratchpad_desc();
        result.primitive = dnnl::convolution_backward_weights(backward);
    }
    return result;
}

std::shared_ptr<ConvPlan> make_plan(const dnnl::engine& engine, const ConvKey& key) {
    return made(name_of(key.shape, key.pass), [&] {
        Descriptions d = describe(engine, key, static_cast<DType>(key.dtype));
        if (!d.primitive) d = describe(engine, key, DType::f32);
        QSTEP_CHECK(static_cast<bool>(d.primitive), "oneDNN has no implementation of {}",
                    name_of(key.shape, key.pass));
        auto plan = std::make_shared<ConvPlan>();
        plan->dtype = d.dtype;
        plan->weight_bytes = d.weights.get_size();
        plan->scratchpad_bytes = d.scratchpad.get_size();
        const Desc bias = key.has_bias ? bias_desc(key.shape) : Desc();
        const Desc master = weights_desc(key.shape, Type::f32, Tag::oihw);
        if (key.pass == Pass::forward) {
            plan->convolution = Operation(engine, d.primitive,
                                          {{DNNL_ARG_SRC, d.src},
                                           {DNNL_ARG_WEIGHTS, d.weights},
                                           {DNNL_ARG_BIAS, bias},
                                           {DNNL_ARG_DST, d.dst},
                                           {DNNL_ARG_SCRATCHPAD, d.scratchpad}});
        } else if (key.pass == Pass::backward_data) {
            plan->convolution = Operation(engine, d.primitive,
                                          {{DNNL_ARG_DIFF_SRC, d.src},
                                           {DNNL_ARG_WEIGHTS, d.weights},
                                           {DNNL_ARG_DIFF_DST, d.dst},
                                           {DNNL_ARG_SCRATCHPAD, d.scratchpad}});
        } else {
            plan->convolution = Operation(engine, d.primitive,
                                          {{DNNL_ARG_SRC, d.src},
                                           {DNNL_ARG_DIFF_WEIGHTS, d.weights},
                                           {DNNL_ARG_DIFF_BIAS, bias},
                                           {DNNL_ARG_DIFF_DST, d.dst},
                                           {DNNL_ARG_SCRATCHPAD, d.scratchpad}});
            plan->reorder_weights = make_reorder(engine, d.weights, master);
            plan->accumulate_weights = make_reorder(engine, d.weights, master, true);
            return plan;
        }
        plan->reorder_weights = make_reorder(engine, master, d.weights);
        return plan;
    });
}

ConvPlan& plan_of(const Context& context, const Runtime& runtime, const Conv2dShape& shape, Pass pass,
                  DType dtype, bool has_bias) {
    const ConvKey key{shape, pass, static_cast<std::int64_t>(dtype), has_bias};
    return context.plans().get<ConvPlan>(key, [&] { return make_plan(runtime.engine, key); });
}

std::size_t f32_bytes(const Shape& shape) {
    return scratch_bytes(static_cast<std::size_t>(shape.count()) * sizeof(float));
}

// One number for all passes, so that what is lent never exceeds what was reserved.
std::size_t bytes_of(const ConvPlan& plan, const Conv2dShape& shape, DType dtype, GradMode mode) {
    std::size_t bytes = scratch_bytes(plan.weight_bytes) + scratch_bytes(plan.scratchpad_bytes);
    bytes += scratch_bytes(static_cast<std::size_t>(shape.out_channels) * sizeof(float));
    if (plan.dtype != dtype) bytes += f32_bytes(shape.x()) + f32_bytes(shape.y());
    if (mode == GradMode::accumulate) bytes += f32_bytes(shape.x());
    return bytes;
}

void check_arguments(const Conv2dShape& shape, const Tensor& x, const Tensor& y, const Tensor& w,
                     const Tensor& bias) {
    QSTEP_CHECK(shape.stride >= 1 && shape.pad >= 0 && shape.out_height() >= 1 && shape.out_width() >= 1,
                "a {}x{} kernel with stride {} and padding {} does not fit x {}", shape.kernel_h,
                shape.kernel_w, shape.stride, shape.pad, shape.x().to_string());
    check_tensor(x, "x", x.dtype, shape.x());
    check_tensor(y, "y", x.dtype, shape.y());
    check_tensor(w, "w", DType::f32, shape.w());
    if (bias) check_tensor(bias, "bias", DType::f32, {shape.out_channels});
}

// The tensor itself, or an f32 tensor of its shape in scratch memory where the plan computes in f32.
Tensor compute_copy(Scratch& scratch, const ConvPlan& plan, const Tensor& tensor) {
    if (plan.dtype == tensor.dtype) return tensor;
    return {scratch.take<float>(tensor.count()), DType::f32, tensor.shape};
}

}  // namespace

std::size_t workspace_bytes(const Context& context, const Conv2dShape& shape, DType dtype) {
    const Runtime& runtime = runtime_of(context);
    std::size_t bytes = 0;
    for (const Pass pass : {Pass::forward, Pass::backward_data, Pass::backward_weights})
        for (const bool bias : {false, true}) {
            if (bias && pass == Pass::backward_data) continue;
            const ConvPlan& plan = plan_of(context, runtime, shape, pass, dtype, bias);
            const GradMode mode = pass == Pass::backward_data ? GradMode::accumulate : GradMode::overwrite;
            bytes = std::max(bytes, bytes_of(plan, shape, dtype, mode));
        }
    return bytes;
}

void forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x, const Tensor& w,
             const Tensor& bias) {
    check_arguments(shape, x, y, w, bias);
    Runtime& runtime = runtime_of(context);
    ConvPlan& plan = plan_of(context, runtime, shape, Pass::forward, x.dtype, static_cast<bool>(bias));
    Scratch scratch(context.workspace().lend(bytes_of(plan, shape, x.dtype, GradMode::overwrite)));
    void* weights = scratch.take_bytes(plan.weight_bytes);
    void* scratchpad = scratch.take_bytes(plan.scratchpad_bytes);
    const Tensor from = compute_copy(scratch, plan, x), to = compute_copy(scratch, plan, y);
    if (from.data != x.data) convert(context, from, x);
    run_reorder(runtime, plan.reorder_weights, weights, w.data);
    plan.convolution.run(runtime, {{DNNL_ARG_SRC, from.data},
                                   {DNNL_ARG_WEIGHTS, weights},
                                   {DNNL_ARG_BIAS, bias.data},
                                   {DNNL_ARG_DST, to.data},
                                   {DNNL_ARG_SCRATCHPAD, scratchpad}});
    if (to.data != y.data) convert(context, y, to);
}

void backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                   const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, dx, dy, w, {});
    Runtime& runtime = runtime_of(context);
    ConvPlan& plan = plan_of(context, runtime, shape, Pass::backward_data, dx.dtype, false);
    Scratch scratch(context.workspace().lend(bytes_of(plan, shape, dx.dtype, mode)));
    void* weights = scratch.take_bytes(plan.weight_bytes);
    void* scratchpad = scratch.take_bytes(plan.scratchpad_bytes);
    const Tensor from = compute_copy(scratch, plan, dy);
    Tensor to = compute_copy(scratch, plan, dx);
    if (mode == GradMode::accumulate && to.data == dx.data) to.data = scratch.take_bytes(to.bytes());
    if (from.data != dy.data) convert(context, from, dy);
    run_reorder(runtime, plan.reorder_weights, weights, w.data);
    plan.convolution.run(runtime, {{DNNL_ARG_DIFF_SRC, to.data},
                                   {DNNL_ARG_WEIGHTS, weights},
                                   {DNNL_ARG_DIFF_DST, from.data},
                                   {DNNL_ARG_SCRATCHPAD, scratchpad}});
    if (to.data == dx.data) return;
    if (mode == GradMode::overwrite) {
        convert(context, dx, to);
        return;
    }
    if (to.dtype != dx.dtype) {
        // dy's f32 copy is done with; dx's is as large as the accumulation's own.
        const Tensor narrow{scratch.take_bytes(dx.bytes()), dx.dtype, dx.shape};
        convert(context, narrow, to);
        to = narrow;
    }
    add_backward(context, dx, GradMode::accumulate, to);
}

void backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw, const Tensor& dbias,
                      GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    check_arguments(shape, x, dy, dw, dbias);
    const bool accumulate = mode == GradMode::accumulate;
    Runtime& runtime = runtime_of(context);
    ConvPlan& plan =
        plan_of(context, runtime, shape, Pass::backward_weights, x.dtype, static_cast<bool>(dbias));
    Scratch scratch(context.workspace().lend(bytes_of(plan, shape, x.dtype, GradMode::overwrite)));
    void* weights = scratch.take_bytes(plan.weight_bytes);
    void* scratchpad = scratch.take_bytes(plan.scratchpad_bytes);
    auto* bias = scratch.take<float>(shape.out_channels);
    const Tensor image = compute_copy(scratch, plan, x), from = compute_copy(scratch, plan, dy);
    if (image.data != x.data) convert(context, image, x);
    if (from.data != dy.data) convert(context, from, dy);
    plan.convolution.run(runtime, {{DNNL_ARG_SRC, image.data},
                                   {DNNL_ARG_DIFF_WEIGHTS, weights},
                                   {DNNL_ARG_DIFF_BIAS, accumulate ? bias : dbias.data},
                                   {DNNL_ARG_DIFF_DST, from.data},
                                   {DNNL_ARG_SCRATCHPAD, scratchpad}});
    run_reorder(runtime, accumulate ? plan.accumulate_weights : plan.reorder_weights, dw.data, weights);
    if (dbias && accumulate)
        for (std::int64_t o = 0; o < shape.out_channels; ++o) dbias.as<float>()[o] += bias[o];
}

}  // namespace qstep::cpu::onednn

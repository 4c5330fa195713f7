#include "kernels/activation.h"

#include "kernels/convert.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

template <typename T>
QSTEP_CLONES void relu_range(T* out, const T* x, std::int64_t count) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        const float value = to_float(x[i]);
        out[i] = from_float<T>(0.0f > value ? 0.0f : value);  // written so that NaN stays
    }
}

template <typename T, bool kAccumulate>
QSTEP_CLONES void relu_backward_range(T* dx, const T* dout, const T* out, std::int64_t count) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
        // Chosen between floats: between two bf16, which are structs, gcc branches.
        const float gradient = to_float(out[i]) > 0.0f ? to_float(dout[i]) : 0.0f;
        dx[i] = from_float<T>(kAccumulate ? to_float(dx[i]) + gradient : gradient);
    }
}

template <typename T>
QSTEP_CLONES void add_range(T* out, const T* a, const T* b, std::int64_t count) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) out[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
}

}  // namespace

void relu_forward(Context& context, const Tensor& out, const Tensor& x) {
    check_tensor(out, "out", x.dtype, x.shape);
    with_float_type(x.dtype, "x", [&]<typename T>(T) {
        auto* to = out.as<T>();
        const auto* from = x.as<T>();
        parallel_elements(context, x.count(), [=](std::int64_t begin, std::int64_t end) {
            relu_range(to + begin, from + begin, end - begin);
        });
    });
}

void relu_backward(Context& context, const Tensor& dx, GradMode mode, const Tensor& dout, const Tensor& out) {
    if (mode == GradMode::skip) return;
    check_tensor(dx, "dx", dout.dtype, dout.shape);
    check_tensor(out, "out", dout.dtype, dout.shape);
    with_float_type(dout.dtype, "dout", [&]<typename T>(T) {
        auto* to = dx.as<T>();
        const auto* from = dout.as<T>();
        const auto* mask = out.as<T>();
        const bool accumulate = mode == GradMode::accumulate;
        parallel_elements(context, dout.count(), [=](std::int64_t begin, std::int64_t end) {
            if (accumulate)
                relu_backward_range<T, true>(to + begin, from + begin, mask + begin, end - begin);
            else
                relu_backward_range<T, false>(to + begin, from + begin, mask + begin, end - begin);
        });
    });
}

void add_forward(Context& context, const Tensor& out, const Tensor& a, const Tensor& b) {
    check_tensor(out, "out", a.dtype, a.shape);
    check_tensor(b, "b", a.dtype, a.shape);
    with_float_type(a.dtype, "a", [&]<typename T>(T) {
        auto* to = out.as<T>();
        const auto *left = a.as<T>(), *right = b.as<T>();
        parallel_elements(context, a.count(), [=](std::int64_t begin, std::int64_t end) {
            add_range(to + begin, left + begin, right + begin, end - begin);
        });
    });
}

void add_backward(Context& context, const Tensor& to, GradMode mode, const Tensor& from) {
    if (mode == GradMode::skip) return;
    if (mode == GradMode::accumulate) {
        cpu::add_forward(context, to, to, from);
    } else {
        check_tensor(to, "to", from.dtype, from.shape);
        convert(context, to, from);
    }
}

}  // namespace qstep::cpu

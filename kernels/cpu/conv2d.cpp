#include "kernels/conv2d.h"

#include <algorithm>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/cpu/conv2d_dispatch.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/onednn_conv.h"

namespace qstep::cpu {

namespace {

// Leaf 7, EDX bit 22: AMX-BF16. oneDNN itself asks the system for the tile state.
bool processor_has_amx() {
#if defined(__x86_64__)
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 22 & 1u) != 0;
#else
    return false;
#endif
}

}  // namespace

bool takes_direct_convolution(const Conv2dShape& shape, DType dtype, bool has_bias) {
    constexpr std::int64_t kShortestRow = 8;  // pixels of the narrowest tile
    static const bool amx = processor_has_amx();
    return !has_bias && !(dtype == DType::bf16 && amx) && shape.out_width() >= kShortestRow &&
           direct::supports(shape, dtype);
}

void check_convolution(const Conv2dShape& shape, const Tensor& y, const Tensor& x, const Tensor& w) {
    QSTEP_CHECK(x.dtype == DType::f32 || x.dtype == DType::bf16, "a convolution takes f32 or bf16, not {}",
                name_of(x.dtype));
    check_tensor(x, "x", x.dtype, shape.x());
    check_tensor(y, "y", x.dtype, shape.y());
    check_tensor(w, "w", DType::f32, shape.w());
}

void conv2d_forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    if (!takes_direct_convolution(shape, x.dtype, static_cast<bool>(bias)))
        return onednn::forward(context, shape, y, x, w, bias);
    check_convolution(shape, y, x, w);
    void* workspace = context.workspace().lend(direct::workspace_bytes(context, shape, x.dtype));
    direct::forward(context, workspace, shape, y, x, w, nullptr);
}

void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    if (mode == GradMode::skip) return;
    if (!takes_direct_convolution(shape, dy.dtype, false) || shape.in_channels == 3)
        return onednn::backward_data(context, shape, dx, mode, dy, w);
    check_convolution(shape, dy, dx, w);
    void* workspace = context.workspace().lend(direct::workspace_bytes(context, shape, dy.dtype));
    direct::backward(context, workspace, shape, dx, mode, {}, GradMode::skip, {.dz = dy}, {}, w);
}

void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    if (mode == GradMode::skip) return;
    if (!takes_direct_convolution(shape, dy.dtype, static_cast<bool>(dbias)))
        return onednn::backward_weights(context, shape, dw, dbias, mode, dy, x);
    check_convolution(shape, dy, x, dw);
    void* workspace = context.workspace().lend(direct::workspace_bytes(context, shape, dy.dtype));
    direct::backward(context, workspace, shape, {}, GradMode::skip, dw, mode, {.dz = dy}, x, {});
}

}  // namespace qstep::cpu

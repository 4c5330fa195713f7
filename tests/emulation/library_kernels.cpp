// Stands in for cuDNN and cuBLASLt where CUDA is emulated: the CPU's convolutions and linear layers, in
// stream order, so that a capture records them like any kernel.
#include "kernels/cuda/device/launch.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

/// Runs or records f(context, arguments...); tensors and shapes are kept by value.
template <class F, class... A>
void on_stream(Context& context, const char* name, F* f, const A&... arguments) {
    const cudaError_t status = ::emulation::enqueue(stream_of(context), [&context, f, arguments...] {
        f(context, arguments...);
        return cudaSuccess;
    });
    if (status != cudaSuccess) detail::fail_launch(name, {0, 0}, status);
}

}  // namespace

std::size_t conv2d_workspace(const Context& context, const Conv2dShape& shape, DType dtype, bool training) {
    return cpu::conv2d_workspace(context, shape, dtype, training);
}

void conv2d_forward(Context& context, const Conv2dShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    on_stream(context, "conv2d_forward", cpu::conv2d_forward, shape, y, x, w, bias);
}

void conv2d_backward_data(Context& context, const Conv2dShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    on_stream(context, "conv2d_backward_data", cpu::conv2d_backward_data, shape, dx, mode, dy, w);
}

void conv2d_backward_weights(Context& context, const Conv2dShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    on_stream(context, "conv2d_backward_weights", cpu::conv2d_backward_weights, shape, dw, dbias, mode, dy,
              x);
}

std::size_t linear_workspace(const Context& context, const LinearShape& shape, DType dtype) {
    return cpu::linear_workspace(context, shape, dtype);
}

void linear_forward(Context& context, const LinearShape& shape, const Tensor& y, const Tensor& x,
                    const Tensor& w, const Tensor& bias) {
    on_stream(context, "linear_forward", cpu::linear_forward, shape, y, x, w, bias);
}

void linear_backward_data(Context& context, const LinearShape& shape, const Tensor& dx, GradMode mode,
                          const Tensor& dy, const Tensor& w) {
    on_stream(context, "linear_backward_data", cpu::linear_backward_data, shape, dx, mode, dy, w);
}

void linear_backward_weights(Context& context, const LinearShape& shape, const Tensor& dw,
                             const Tensor& dbias, GradMode mode, const Tensor& dy, const Tensor& x) {
    on_stream(context, "linear_backward_weights", cpu::linear_backward_weights, shape, dw, dbias, mode, dy,
              x);
}

}  // namespace qstep::cuda

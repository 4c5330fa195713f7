// Stands in for cuDNN and cuBLASLt where CUDA is emulated: convolutions by the CPU backend and plain matrix
// products, in stream order, so that a capture records them like any kernel. They hold callers to their word
// about alignments, fill the workspace they are given with NaN, and refuse some problems, so that every way
// around a refusal is taken somewhere: accumulation into dx with stride 2, and fused biases of one column.
#include "kernels/cuda/library_plans.h"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "engine/cuda/capture.h"
#include "kernels/cuda/device/launch.h"
#include "kernels/cuda/narrow_choice.h"
#include "kernels/cuda/narrow_conv.h"
#include "kernels/on_device.h"

namespace qstep::cuda {

namespace {

void on_stream(const Context& context, const char* name, std::function<void()> work) {
    const cudaError_t status = ::emulation::enqueue(stream_of(context), [work = std::move(work)] {
        work();
        return cudaSuccess;
    });
    if (status != cudaSuccess) detail::fail_launch(name, {0, 0}, status);
}

float read(const void* from, DType dtype, std::size_t index) {
    return dtype == DType::bf16 ? to_float(static_cast<const bf16*>(from)[index])
                                : static_cast<const float*>(from)[index];
}

void write(void* to, DType dtype, std::size_t index, float value) {
    if (dtype == DType::bf16)
        static_cast<bf16*>(to)[index] = to_bf16(value);
    else
        static_cast<float*>(to)[index] = value;
}

class HostConvolution : public ConvPlan {
  public:
    HostConvolution(const Context& context, const ConvProblem& problem)
        : problem_(problem), host_(Device{}, context.threads()), weights_(weight_count()) {
        host_.workspace().reserve(cpu::conv2d_workspace(host_, problem.shape, dtype(), true));
        host_.workspace().freeze();
    }

    std::size_t workspace_bytes() const override { return 1000; }

    void run(const Context& context, const ConvOperands& operands, void* workspace) override {
        for (const void* address : {operands.x, operands.w, operands.y})
            QSTEP_CHECK(alignment_of(address) == kWidestAlignment, "an operand of the {} lies at {}",
                        problem_.to_string(), address);
        on_stream(context, "convolution", [this, operands, workspace] {
            std::memset(workspace, 0xff, workspace_bytes());
            compute(operands);
        });
    }

  private:
    DType dtype() const { return static_cast<DType>(problem_.dtype); }
    std::size_t weight_count() const { return static_cast<std::size_t>(problem_.shape.w().count()); }

    // f(position in [O,I,KH,KW], position in [O,KH,KW,I])
    template <class F>
    void for_each_weight(F&& f) const {
        const Conv2dShape& s = problem_.shape;
        const std::int64_t taps = s.kernel_h * s.kernel_w;
        for (std::int64_t o = 0; o < s.out_channels; ++o)
            for (std::int64_t i = 0; i < s.in_channels; ++i)
                for (std::int64_t t = 0; t < taps; ++t)
                    f(static_cast<std::size_t>((o * s.in_channels + i) * taps + t),
                      static_cast<std::size_t>((o * taps + t) * s.in_channels + i));
    }

    void compute(const ConvOperands& operands) {
        const Conv2dShape& shape = problem_.shape;
        const Tensor x{operands.x, dtype(), shape.x()}, y{operands.y, dtype(), shape.y()};
        const Tensor w{weights_.data(), DType::f32, shape.w()};
        if (problem_.pass == ConvPass::backward_weights) {
            cpu::conv2d_backward_weights(host_, shape, w, {}, GradMode::overwrite, y, x);
            for_each_weight([&](std::size_t oihw, std::size_t packed) {
                write(operands.w, dtype(), packed, weights_[oihw]);
            });
            return;
        }
        for_each_weight([&](std::size_t oihw, std::size_t packed) {
            weights_[oihw] = read(operands.w, dtype(), packed);
        });
        if (problem_.pass == ConvPass::forward)
            cpu::conv2d_forward(host_, shape, y, x, w, {});
        else
            cpu::conv2d_backward_data(host_, shape, x,
                                      problem_.accumulate ? GradMode::accumulate : GradMode::overwrite, y, w);
    }

    ConvProblem problem_;
    Context host_;
    std::vector<float> weights_;
};

class HostProduct : public MatmulPlan {
  public:
    explicit HostProduct(const MatmulProblem& problem) : problem_(problem) {}

    void run(const Context& context, const MatmulOperands& operands, bool add, void* workspace) override {
        check(operands.a, problem_.aligned_a);
        check(operands.b, problem_.aligned_b);
        check(operands.d, problem_.aligned_d);
        if (problem_.bias != 0) check(operands.bias, problem_.aligned_bias);
        on_stream(context, "matrix product", [this, operands, add, workspace] {
            std::memset(workspace, 0xff, 4096);
            compute(operands, add);
        });
    }

  private:
    void check(const void* address, std::int64_t promised) const {
        QSTEP_CHECK(alignment_of(address) >= promised, "an operand of {} lies at {}, not on {} bytes",
                    problem_.to_string(), address, promised);
    }

    void compute(const MatmulOperands& operands, bool add) const {
        const auto rows = static_cast<std::size_t>(problem_.rows),
                   inner = static_cast<std::size_t>(problem_.inner),
                   columns = static_cast<std::size_t>(problem_.columns);
        const auto factors = static_cast<DType>(problem_.factors),
                   result = static_cast<DType>(problem_.result);
        std::vector<float> a(rows * inner), sums(rows);
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t k = 0; k < inner; ++k)
                a[r + k * rows] =
                    read(operands.a, factors, problem_.transpose_a ? k + r * inner : r + k * rows);
        for (std::size_t c = 0; c < columns; ++c) {
            for (std::size_t r = 0; r < rows; ++r)
                sums[r] = problem_.bias != 0 ? read(operands.bias, result, r)
                          : add              ? read(operands.d, result, r + c * rows)
                                             : 0.0f;
            for (std::size_t k = 0; k < inner; ++k) {
                const float b =
                    read(operands.b, factors, problem_.transpose_b ? c + k * columns : k + c * inner);
                for (std::size_t r = 0; r < rows; ++r) sums[r] += a[r + k * rows] * b;
            }
            for (std::size_t r = 0; r < rows; ++r) write(operands.d, result, r + c * rows, sums[r]);
        }
    }

    MatmulProblem problem_;
};

}  // namespace

ConvPlan* conv_plan(const Context& context, const ConvProblem& problem) {
    if (problem.shape.stride == 2 && problem.accumulate != 0) return nullptr;
    return &context.plans().get<HostConvolution>(
        problem, [&] { return std::make_shared<HostConvolution>(context, problem); });
}

// Both ways are taken somewhere: the own kernels where the batch is even, unless the environment wants none.
NarrowChoice narrow_choice(const Context&, const Conv2dShape& shape, DType dtype) {
    const char* const wanted = std::getenv("QSTEP_OWN_CONVOLUTIONS");
    const bool none = wanted != nullptr && std::string_view(wanted) == "0";
    const bool own = is_narrow_conv(shape, dtype) && shape.batch % 2 == 0 && !none;
    return {own, own && reads_a_layer(shape), own};
}

MatmulPlan* matmul_plan(const Context& context, const MatmulProblem& problem) {
    if (problem.bias != 0 && problem.columns == 1) return nullptr;
    return &context.plans().get<HostProduct>(problem, [&] {
        refuse_inside_capture(context, "chooses an algorithm for a matrix product");
        return std::make_shared<HostProduct>(problem);
    });
}

}  // namespace qstep::cuda

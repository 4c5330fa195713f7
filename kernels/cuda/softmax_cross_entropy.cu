// Mean softmax cross-entropy, its gradient and the count of right answers (formulas in
// kernels/softmax_cross_entropy.h). Four threads share a row; exponentials and sums are in double, in a fixed
// order.
//
// 4 / 2 bytes an element (f32 / bf16) forward, 8 / 4 backward, and an exponential in double, some 30
// operations: logits of [128,10] are 5 KB and 1,280 exponentials, 1.2 ns and 2.4 ns at 4.3 TB/s, so both
// kernels cost a launch. The forward is a single block, so that the sum over the batch needs no second one;
// each 128 rows take it about 2 us.
#include "kernels/softmax_cross_entropy.h"

#include "kernels/cuda/device/reduce.cuh"
#include "kernels/float_types.h"

namespace qstep::cuda {

namespace {

constexpr int kRowThreads = 4;
constexpr int kForwardThreads = 512, kBackwardThreads = 64;

// One row, shared by kRowThreads neighbours, `member` of which is this thread; `classes` is 0 in groups that
// have no row.
template <typename T>
struct SharedRow {
    const T* row;
    int classes, member;

    __device__ float largest() const {
        float top = -INFINITY;
        for (int k = member; k < classes; k += kRowThreads) top = fmaxf(top, to_float(row[k]));
        return group_maximum<kRowThreads>(top);
    }
    __device__ double exponential_sum(float top) const {
        double sum = 0;
        for (int k = member; k < classes; k += kRowThreads)
            sum += exp(static_cast<double>(to_float(row[k])) - static_cast<double>(top));
        return group_sum<kRowThreads>(sum);
    }
    // NaN compares false, so a row that holds one is never right.
    __device__ bool first_largest_is(int label, float value) const {
        int misses = 0;
        for (int k = member; k < classes; k += kRowThreads) {
            const float other = to_float(row[k]);
            misses += k < label ? !(value > other) : !(value >= other);
        }
        return group_sum<kRowThreads>(misses) == 0;
    }
};

template <typename T>
__global__ void __launch_bounds__(kForwardThreads)
    forward_kernel(float* loss, double* metrics, const T* logits, const std::int32_t* labels,
                   std::int64_t rows, int classes) {
    constexpr int kRowsAtOnce = kForwardThreads / kRowThreads;
    const int thread = static_cast<int>(threadIdx.x), member = thread % kRowThreads;
    double total = 0, right = 0;
    wait_for_predecessor();
    // The same number of turns for all threads: a warp's lanes exchange values.
    for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
        const std::int64_t n = first + thread / kRowThreads;
        const bool has_row = n < rows;
        const SharedRow<T> row{logits + (has_row ? n : 0) * classes, has_row ? classes : 0, member};
        const int label = has_row ? labels[n] : 0;
        const float value = to_float(row.row[label]);
        const float top = row.largest();
        const double sum = row.exponential_sum(top);
        const bool is_right = row.first_largest_is(label, value);
        if (has_row && member == 0) {
            total += log(sum) + (static_cast<double>(top) - static_cast<double>(value));
            right += is_right ? 1.0 : 0.0;
        }
    }
    total = block_sum<kForwardThreads>(total);
    __syncthreads();
    right = block_sum<kForwardThreads>(right);
    if (thread != 0) return;
    *loss = static_cast<float>(total / static_cast<double>(rows));
    metrics[0] += total;
    metrics[1] += right;
}

template <typename T>
__global__ void __launch_bounds__(kBackwardThreads)
    backward_kernel(T* dlogits, const T* logits, const std::int32_t* labels, std::int64_t rows, int classes,
                    double share) {
    constexpr int kRowsAtOnce = kBackwardThreads / kRowThreads;
    const int thread = static_cast<int>(threadIdx.x), member = thread % kRowThreads;
    const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kRowsAtOnce + thread / kRowThreads;
    const bool has_row = n < rows;
    wait_for_predecessor();
    const SharedRow<T> row{logits + (has_row ? n : 0) * classes, has_row ? classes : 0, member};
    const float top = row.largest();
    const double scale = share / row.exponential_sum(top);
    if (!has_row) return;
    const int label = labels[n];
    // A thread reads the classes that it writes and no others, so dlogits may be logits.
    for (int k = member; k < classes; k += kRowThreads) {
        const double power = exp(static_cast<double>(to_float(row.row[k])) - static_cast<double>(top));
        dlogits[n * classes + k] =
            from_float<T>(static_cast<float>(power * scale - (k == label ? share : 0.0)));
    }
}

void check_logits(const Tensor& logits, const Tensor& labels) {
    QSTEP_CHECK(logits.shape.rank() == 2 && logits.shape[0] >= 1 && logits.shape[1] >= 1,
                "logits must be [N,K], they are {}", logits.shape.to_string());
    check_tensor(labels, "labels", DType::i32, {logits.shape[0]});
}

}  // namespace

void softmax_cross_entropy_forward(Context& context, const Tensor& loss, const Tensor& metrics,
                                   const Tensor& logits, const Tensor& labels) {
    check_logits(logits, labels);
    check_tensor(loss, "loss", DType::f32, {1});
    check_tensor(metrics, "metrics", DType::f64, {2});
    with_float_type(logits.dtype, "logits", [&]<typename T>(T) {
        launch(context, "softmax_cross_entropy_forward", forward_kernel<T>, {1, kForwardThreads},
               loss.as<float>(), metrics.as<double>(), logits.as<T>(), labels.as<std::int32_t>(),
               logits.shape[0], static_cast<int>(logits.shape[1]));
    });
}

void softmax_cross_entropy_backward(Context& context, const Tensor& dlogits, const Tensor& logits,
                                    const Tensor& labels) {
    check_logits(logits, labels);
    check_tensor(dlogits, "dlogits", logits.dtype, logits.shape);
    constexpr int kRowsOfBlock = kBackwardThreads / kRowThreads;
    const std::int64_t rows = logits.shape[0];
    with_float_type(logits.dtype, "logits", [&]<typename T>(T) {
        launch(context, "softmax_cross_entropy_backward", backward_kernel<T>,
               {(rows + kRowsOfBlock - 1) / kRowsOfBlock, kBackwardThreads}, dlogits.as<T>(), logits.as<T>(),
               labels.as<std::int32_t>(), rows, static_cast<int>(logits.shape[1]),
               1.0 / static_cast<double>(rows));
    });
}

}  // namespace qstep::cuda

#include "kernels/softmax_cross_entropy.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/float_types.h"

namespace qstep::cpu {

namespace {

template <typename T>
float largest(const T* row, std::int64_t classes) {
    float top = to_float(row[0]);
    for (std::int64_t k = 1; k < classes; ++k) top = std::max(top, to_float(row[k]));
    return top;
}

template <typename T>
double exponential_sum(const T* row, std::int64_t classes, float top) {
    double sum = 0;
    for (std::int64_t k = 0; k < classes; ++k)
        sum += std::exp(static_cast<double>(to_float(row[k])) - static_cast<double>(top));
    return sum;
}

// NaN compares false, so a row that holds one is never right.
template <typename T>
bool first_largest_is(const T* row, std::int64_t classes, std::int64_t label) {
    const float value = to_float(row[label]);
    for (std::int64_t k = 0; k < classes; ++k) {
        const float other = to_float(row[k]);
        if (k < label ? !(value > other) : !(value >= other)) return false;
    }
    return true;
}

template <typename T>
void gradient_row(T* to, const T* row, std::int64_t classes, std::int64_t label, double share) {
    const float top = largest(row, classes);
    const double scale = share / exponential_sum(row, classes, top);
    for (std::int64_t k = 0; k < classes; ++k) {
        const double power = std::exp(static_cast<double>(to_float(row[k])) - static_cast<double>(top));
        to[k] = from_float<T>(static_cast<float>(power * scale - (k == label ? share : 0.0)));
    }
}

void check_logits(const Tensor& logits, const Tensor& labels) {
    QSTEP_CHECK(logits.shape.rank() == 2 && logits.shape[0] >= 1 && logits.shape[1] >= 1,
                "logits must be [N,K], they are {}", logits.shape.to_string());
    check_tensor(labels, "labels", DType::i32, {logits.shape[0]});
}

}  // namespace

// A few thousand numbers: one thread, and so one order of summation, costs microseconds.
void softmax_cross_entropy_forward(Context&, const Tensor& loss, const Tensor& metrics, const Tensor& logits,
                                   const Tensor& labels) {
    check_logits(logits, labels);
    check_tensor(loss, "loss", DType::f32, {1});
    check_tensor(metrics, "metrics", DType::f64, {2});
    const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
    const auto* label = labels.as<std::int32_t>();
    double total = 0;
    std::int64_t right = 0;
    with_float_type(logits.dtype, "logits", [&]<typename T>(T) {
        for (std::int64_t n = 0; n < rows; ++n) {
            const T* row = logits.as<T>() + n * classes;
            const float top = largest(row, classes);
            total += std::log(exponential_sum(row, classes, top)) +
                     (static_cast<double>(top) - static_cast<double>(to_float(row[label[n]])));
            right += first_largest_is(row, classes, label[n]);
        }
    });
    loss.as<float>()[0] = static_cast<float>(total / static_cast<double>(rows));
    metrics.as<double>()[0] += total;
    metrics.as<double>()[1] += static_cast<double>(right);
}

void softmax_cross_entropy_backward(Context& context, const Tensor& dlogits, const Tensor& logits,
                                    const Tensor& labels) {
    check_logits(logits, labels);
    check_tensor(dlogits, "dlogits", logits.dtype, logits.shape);
    const std::int64_t rows = logits.shape[0], classes = logits.shape[1];
    const auto* label = labels.as<std::int32_t>();
    const double share = 1.0 / static_cast<double>(rows);
    constexpr std::int64_t kExponentialCost = 6;  // in elementwise operations of parallel_ranges
    with_float_type(logits.dtype, "logits", [&]<typename T>(T) {
        auto* to = dlogits.as<T>();
        const auto* from = logits.as<T>();
        parallel_ranges(context, rows, 1, classes * kExponentialCost,
                        [=](std::int64_t begin, std::int64_t end) {
                            for (std::int64_t n = begin; n < end; ++n)
                                gradient_row(to + n * classes, from + n * classes, classes, label[n], share);
                        });
    });
}

}  // namespace qstep::cpu

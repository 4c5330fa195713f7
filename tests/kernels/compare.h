// Comparing a kernel's result with a reference in double precision, element by element.
#pragma once

#include <gtest/gtest.h>

#include "tests/kernels/conv_reference.h"

namespace qstep::test {

/// Half a unit in the last place, relative: what one rounding to 24 or to 8 significant bits costs at most.
constexpr double kF32Rounding = 0x1p-24;
constexpr double kBf16Rounding = 0x1p-8;
inline double rounding_of(DType dtype) {
    return dtype == DType::f32 ? kF32Rounding : kBf16Rounding;
}

/// |got - want| <= absolute + relative * |want| for every element; NaN only where the reference has one.
inline void expect_close(const Doubles& got, const Doubles& want, double relative, double absolute) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
        if (std::isnan(want[i]) && std::isnan(got[i])) continue;
        if (got[i] == want[i]) continue;  // infinities
        ASSERT_LE(std::fabs(got[i] - want[i]), absolute + relative * std::fabs(want[i]))
            << "element " << i << ": got " << got[i] << ", want " << want[i];
    }
}

/// `value` after a round trip through the type.
inline double rounded(DType dtype, double value) {
    const auto narrow = static_cast<float>(value);
    return static_cast<double>(dtype == DType::f32 ? narrow : to_float(to_bf16(narrow)));
}

/// Every element what a loop of float32 arithmetic, rounded once to the type, gives.
inline void expect_same(const Doubles& got, const Doubles& want) {
    expect_close(got, want, 0, 0);
}

/// A context whose workspace holds `bytes`.
struct Bench {
    explicit Bench(int threads = 2) : context(Device{}, threads) {}
    Context& with(std::size_t bytes) {
        context.workspace().reserve(bytes);
        context.workspace().freeze();
        return context;
    }
    Context context;
};

constexpr DType kFloatTypes[] = {DType::f32, DType::bf16};
constexpr GradMode kGradModes[] = {GradMode::skip, GradMode::overwrite, GradMode::accumulate};

}  // namespace qstep::test

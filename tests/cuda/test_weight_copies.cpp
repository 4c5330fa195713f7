// Copies of weights against their definition, for as many tensors at once as a network has and more than one
// launch takes.
#include "kernels/weight_copies.h"

#include <vector>

#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

// [O,I,KH,KW]: convolutions of the models (the gradient of [64,64,3,3] comes in parts), one of everything,
// several tiles, taps without a common divisor.
const Shape kFilters[] = {{16, 3, 3, 3},  {64, 64, 3, 3}, {32, 16, 1, 1}, {1, 1, 1, 1},
                          {2, 600, 3, 3}, {3, 5, 11, 7},  {2, 10, 2, 5}};
// Linear weights and biases: around a block of 4,096 elements.
const Shape kMatrices[] = {{10, 64}, {10}, {1}, {3, 1365}, {1, 4096}, {17, 241}, {4097}};

float get(const Tensor& from, std::int64_t at) {
    return from.dtype == DType::bf16 ? to_float(from.as<bf16>()[at]) : from.as<float>()[at];
}

void put(const Tensor& to, std::int64_t at, float value) {
    if (to.dtype == DType::bf16)
        to.as<bf16>()[at] = to_bf16(value);
    else
        to.as<float>()[at] = value;
}

// Of the copy's element `place`, in [O,KH,KW,I], the master's place, in [O,I,KH,KW].
std::int64_t in_master(const Shape& master, std::int64_t place) {
    if (master.rank() != 4) return place;
    const std::int64_t inputs = master[1], taps = master[2] * master[3];
    const std::int64_t input = place % inputs, tap = place / inputs % taps, output = place / inputs / taps;
    return (output * inputs + input) * taps + tap;
}

/// A weight with copy and gradients, all of different numbers.
struct Weight {
    Weight(Context& gpu, WeightUse use, const Shape& master, DType dtype, std::uint64_t seed)
        : use(use),
          // Parameters lie on multiples of four bytes.
          weight(gpu, DType::f32, master, seed, 1.0, 0.0, 1),
          gradient(gpu, DType::f32, master, seed + 1, 1.0, 0.0, 1),
          copy(gpu, dtype, weight_layout(gpu, use, master, DType::bf16).value().shape, seed + 2, 1.0),
          parts(parts_of(gpu, use, master)),
          copy_gradient(gpu, parts > 1 ? DType::f32 : dtype, in_parts(copy.gpu().shape), seed + 3, 1.0) {}

    static std::int64_t parts_of(Context& gpu, WeightUse use, const Shape& master) {
        const auto layout = weight_layout(gpu, use, master, DType::bf16).value();
        return layout.gradient ? layout.gradient->shape.count() / master.count() : 1;
    }
    Shape in_parts(Shape of_one) const {
        return parts == 1 ? of_one : Shape{parts * of_one[0], of_one[1], of_one[2], of_one[3]};
    }

    WeightCopy on_gpu() const {
        return {weight.gpu(), gradient.gpu(), copy.gpu(),
                use == WeightUse::convolution ? copy_gradient.gpu() : Tensor{}};
    }
    /// Does on the CPU what the kernels shall do.
    void make_copy() const {
        for (std::int64_t i = 0; i < copy.cpu().count(); ++i)
            put(copy.cpu(), i, get(weight.cpu(), in_master(weight.cpu().shape, i)));
    }
    void collect_gradient() const {
        if (use != WeightUse::convolution) return;
        for (std::int64_t i = 0; i < copy.cpu().count(); ++i) {
            float sum = get(copy_gradient.cpu(), i);
            for (std::int64_t p = 1; p < parts; ++p)
                sum += get(copy_gradient.cpu(), p * copy.cpu().count() + i);
            put(gradient.cpu(), in_master(gradient.cpu().shape, i), sum);
        }
    }
    void expect_same_bits() const {
        SCOPED_TRACE(weight.cpu().shape.to_string());
        for (const Twin* twin : {&weight, &gradient, &copy, &copy_gradient}) twin->expect_same_bits();
    }

    WeightUse use;
    Twin weight, gradient, copy;
    std::int64_t parts;
    Twin copy_gradient;
};

class WeightCopies : public test::OnBoth {
  protected:
    /// `turns` times each of the shapes above, as one network's.
    void check(DType dtype, int turns) {
        std::vector<Weight> weights;
        for (int turn = 0; turn < turns; ++turn) {
            const auto add = [&](WeightUse use, const Shape& shape) {
                weights.emplace_back(gpu(), use, shape, dtype, 4 * weights.size());
            };
            for (const Shape& shape : kFilters) add(WeightUse::convolution, shape);
            for (const Shape& shape : kMatrices) add(WeightUse::linear, shape);
        }
        std::vector<WeightCopy> copies;
        for (const Weight& weight : weights) copies.push_back(weight.on_gpu());
        make_weight_copies(gpu(), copies);
        for (const Weight& weight : weights) weight.make_copy();
        for (const Weight& weight : weights) weight.expect_same_bits();
        collect_weight_gradients(gpu(), copies);
        for (const Weight& weight : weights) weight.collect_gradient();
        for (const Weight& weight : weights) weight.expect_same_bits();
    }
};

TEST_F(WeightCopies, AreRoundedAndReordered) {
    for (const DType dtype : test::kFloatTypes) check(dtype, 1);
}

// 70 weights and 35 gradients, where a launch takes 64.
TEST_F(WeightCopies, MoreThanALaunchTakes) {
    check(DType::bf16, 5);
}

TEST_F(WeightCopies, NoneIsNothing) {
    make_weight_copies(gpu(), {});
    collect_weight_gradients(gpu(), {});
    make_weight_copies(cpu(), {});
    collect_weight_gradients(cpu(), {});
}

TEST_F(WeightCopies, LayoutsOfTheDevices) {
    const Shape filters{4, 3, 2, 1}, matrix{4, 3};
    for (const DType precision : test::kFloatTypes) {
        const auto layout = weight_layout(gpu(), WeightUse::convolution, filters, precision);
        ASSERT_TRUE(layout);
        EXPECT_EQ(layout->dtype, precision);
        EXPECT_EQ(layout->shape, (Shape{4, 2, 1, 3}));
        ASSERT_TRUE(layout->gradient);
        EXPECT_EQ(layout->gradient->dtype, precision);
        EXPECT_EQ(layout->gradient->shape, layout->shape);
        EXPECT_FALSE(weight_layout(gpu(), WeightUse::other, matrix, precision));
        for (const WeightUse use : {WeightUse::convolution, WeightUse::linear, WeightUse::other})
            EXPECT_FALSE(weight_layout(cpu(), use, filters, precision));
    }
    const auto narrow = weight_layout(gpu(), WeightUse::convolution, {16, 16, 3, 3}, DType::bf16);
    ASSERT_TRUE(narrow && narrow->gradient);
    EXPECT_EQ(narrow->gradient->dtype, DType::f32);
    EXPECT_EQ(narrow->gradient->shape[0] % 16, 0);
    EXPECT_GT(narrow->gradient->shape[0], 16);
    EXPECT_FALSE(weight_layout(gpu(), WeightUse::linear, matrix, DType::f32));
    const auto layout = weight_layout(gpu(), WeightUse::linear, matrix, DType::bf16);
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout->dtype, DType::bf16);
    EXPECT_EQ(layout->shape, matrix);
    EXPECT_FALSE(layout->gradient);
}

TEST_F(WeightCopies, WhatDoesNotFitThrows) {
    const Twin filters(gpu(), DType::f32, {4, 3, 3, 3}), narrow(gpu(), DType::f32, {4, 3, 3, 2}),
        in_bf16_parts(gpu(), DType::bf16, {8, 3, 3, 3}), parts(gpu(), DType::f32, {8, 3, 3, 3});
    const auto pair = [](const Twin& master, const Twin& copy) {
        return WeightCopy{master.gpu(), master.gpu(), copy.gpu(), copy.gpu()};
    };
    for (const std::vector<WeightCopy>& wrong :
         {std::vector{pair(filters, narrow)},
          std::vector{pair(filters, filters), pair(filters, in_bf16_parts)}}) {
        EXPECT_THROW(make_weight_copies(gpu(), wrong), Error);
        EXPECT_THROW(collect_weight_gradients(gpu(), wrong), Error);
    }
    EXPECT_THROW(make_weight_copies(gpu(), std::vector{pair(filters, parts)}), Error);
    EXPECT_THROW(make_weight_copies(cpu(), std::vector{pair(filters, filters)}), Error);
}

}  // namespace
}  // namespace qstep

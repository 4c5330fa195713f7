// The tape with toy scalar operations whose gradients are known: order, overwrite or accumulate, memory
// reuse.
#include <gtest/gtest.h>

#include "engine/tape.h"

namespace qstep {
namespace {

const Device kCpu{DeviceKind::cpu, 0};
constexpr float kPoison = 1e30f;  // what unwritten memory holds; any use of it shows in the result

float& at(const Tensor& tensor) {
    return *tensor.as<float>();
}

void give(float& target, GradMode mode, float value) {
    if (mode == GradMode::overwrite) target = value;
    if (mode == GradMode::accumulate) target += value;
}

/// Builds a network twice, as a trainer does: once to measure, once in memory full of poison.
class TapeTest : public testing::Test {
  protected:
    template <typename Build>
    Tape& lay_out(bool training, Build build) {
        {
            Tape measuring(context_, arena_, training);
            build(measuring);
        }
        arena_.commit();
        const std::size_t floats = arena_.capacity() / sizeof(float);
        auto* memory = static_cast<float*>(arena_.allocate_bytes(floats * sizeof(float)));
        std::fill_n(memory, floats, kPoison);
        arena_.rewind(0);
        tape_ = std::make_unique<Tape>(context_, arena_, training);
        build(*tape_);
        return *tape_;
    }

    static Value* multiply(Tape& tape, Value* a, Value* b) {
        Value* y = tape.activation(DType::f32, {1});
        tape.record({.name = "multiply",
                     .inputs = {a, b},
                     .output = y,
                     .forward = [=](Context&) { at(y->data) = at(a->data) * at(b->data); },
                     .backward =
                         [=](Context&, std::span<const GradMode> modes) {
                             const float dy = at(y->grad);
                             if (modes[0] != GradMode::skip) give(at(a->grad), modes[0], dy * at(b->data));
                             if (modes[1] != GradMode::skip) give(at(b->grad), modes[1], dy * at(a->data));
                         }});
        return y;
    }
    /// y = a + b; the gradient may pass to a in place.
    static Value* add(Tape& tape, Value* a, Value* b) {
        Value* y = tape.activation(DType::f32, {1});
        tape.record({.name = "add",
                     .inputs = {a, b},
                     .output = y,
                     .forward = [=](Context&) { at(y->data) = at(a->data) + at(b->data); },
                     .backward =
                         [=](Context&, std::span<const GradMode> modes) {
                             const float dy = at(y->grad);
                             if (modes[1] != GradMode::skip) give(at(b->grad), modes[1], dy);
                             if (modes[0] != GradMode::skip && a->grad.data != y->grad.data)
                                 give(at(a->grad), modes[0], dy);
                         },
                     .gradient_passes_to = 0});
        return y;
    }
    /// loss = a; starts the backward pass with gradient 1.
    static Value* end(Tape& tape, Value* a) {
        Value* y = tape.activation(DType::f32, {1});
        tape.record(
            {.name = "end",
             .inputs = {a},
             .output = y,
             .forward = [=](Context&) { at(y->data) = at(a->data); },
             .backward = [=](Context&,
                             std::span<const GradMode> modes) { give(at(a->grad), modes[0], 1.0f); }});
        return y;
    }

    Context context_{kCpu, 1};
    Arena arena_{kCpu, "tape test arena"};
    std::unique_ptr<Tape> tape_;
    float weight_ = 3.0f, weight_grad_ = kPoison;
    Tensor weight_tensor_{&weight_, DType::f32, {1}};
    Tensor grad_tensor_{&weight_grad_, DType::f32, {1}};
};

TEST_F(TapeTest, AccumulatesWhereAValueIsReadTwice) {
    Value *x = nullptr, *loss = nullptr;
    Tape& tape = lay_out(true, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        Value* h = multiply(t, x, t.parameter(weight_tensor_, grad_tensor_));  // h = w x
        Value* square = multiply(t, h, h);                                     // one input twice
        loss = end(t, add(t, add(t, square, h), h));                           // h^2 + 2 h
        t.finish(loss);
    });
    at(x->data) = 2.0f;
    for (int run = 0; run < 2; ++run) {  // a second run must not see the first one's gradients
        tape.forward();
        tape.backward();
        EXPECT_FLOAT_EQ(at(loss->data), 48.0f);
        EXPECT_FLOAT_EQ(weight_grad_, (2 * 6.0f + 2) * 2.0f);
    }
    EXPECT_FALSE(x->needs_grad);
}

TEST_F(TapeTest, AGradientPassedOnInPlaceIsNotHandedOutAgain) {
    // u + v with both gradients new: u takes over the sum's gradient, and nothing computed before u's turn
    // may be given that memory.
    Value *x = nullptr, *loss = nullptr;
    Tape& tape = lay_out(true, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        Value* u = multiply(t, x, t.parameter(weight_tensor_, grad_tensor_));
        Value* v = multiply(t, multiply(t, u, x), multiply(t, u, x));  // (w x^2)^2
        loss = end(t, add(t, u, v));
        t.finish(loss);
    });
    at(x->data) = 2.0f;
    tape.forward();
    tape.backward();
    EXPECT_FLOAT_EQ(weight_grad_, 2.0f + 2 * 3.0f * 16.0f);  // d/dw (w x + w^2 x^4)
}

TEST_F(TapeTest, GradientMemoryIsReused) {
    Value *x = nullptr, *loss = nullptr;
    constexpr int kDepth = 20;
    Tape& tape = lay_out(true, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        Value* h = multiply(t, x, t.parameter(weight_tensor_, grad_tensor_));
        for (int i = 0; i < kDepth; ++i) h = multiply(t, h, x);
        loss = end(t, h);
        t.finish(loss);
    });
    // Input, kDepth + 2 activations, and two gradients in flight, 64 bytes each.
    EXPECT_EQ(arena_.capacity(), 64u * (1 + kDepth + 2 + 2));
    at(x->data) = 1.0f;
    tape.forward();
    tape.backward();
    EXPECT_FLOAT_EQ(weight_grad_, 1.0f);
}

TEST_F(TapeTest, EvaluationReusesActivationsAndKeepsWhatIsAskedFor) {
    Value *x = nullptr, *kept = nullptr, *last = nullptr;
    constexpr int kDepth = 20;
    Tape& tape = lay_out(false, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        kept = multiply(t, x, t.parameter(weight_tensor_, {}));
        Value* h = kept;
        for (int i = 0; i < kDepth; ++i) h = add(t, h, x);
        last = end(t, h);
        t.finish(last, {kept});
    });
    EXPECT_EQ(arena_.capacity(), 64u * 4);  // input, kept, and two to alternate between
    at(x->data) = 1.0f;
    tape.forward();
    EXPECT_FLOAT_EQ(at(last->data), 3.0f + kDepth);
    EXPECT_FLOAT_EQ(at(kept->data), 3.0f);
    EXPECT_THROW(tape.backward(), Error);
}

TEST_F(TapeTest, AnActivationTakesTheSmallestBlockThatIsLargeEnough) {
    for (const bool large_first : {true, false}) {
        Context context(kCpu, 1);
        Arena arena(kCpu, "tape test arena");
        Tape tape(context, arena, false);
        const auto node = [&](const std::vector<Value*>& inputs, std::int64_t count) {
            Value* y = tape.activation(DType::f32, {count});
            tape.record({.name = "node", .inputs = inputs, .output = y, .forward = {}, .backward = {}});
            return y;
        };
        Value* x = tape.input(DType::f32, {1});
        Value *large = node({x}, 100), *small = node({x}, 20);
        // Both are free behind this one, in the order in which it reads them.
        Value* sum = large_first ? node({large, small}, 20) : node({small, large}, 20);
        Value* next = node({sum}, 20);
        tape.finish(next);
        EXPECT_EQ(next->data.data, small->data.data) << large_first;
        EXPECT_NE(sum->data.data, large->data.data) << large_first;
    }
}

TEST_F(TapeTest, WhatTheLossDoesNotReadGetsNoGradient) {
    float other = 5.0f, other_grad = kPoison;
    Value *x = nullptr, *side = nullptr;
    Tape& tape = lay_out(true, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        Value* h = multiply(t, x, t.parameter(weight_tensor_, grad_tensor_));
        multiply(t, x, x);
        side = multiply(t, h, t.parameter({&other, DType::f32, {1}}, {&other_grad, DType::f32, {1}}));
        t.finish(end(t, h));
    });
    at(x->data) = 2.0f;
    tape.forward();
    tape.backward();
    EXPECT_FLOAT_EQ(at(side->data), 30.0f);
    EXPECT_FLOAT_EQ(weight_grad_, 2.0f);
    EXPECT_EQ(other_grad, kPoison);
    EXPECT_TRUE(tape.modes(1).empty());
    EXPECT_TRUE(tape.modes(2).empty());
}

// It has no gradient of its own to pass on.
TEST_F(TapeTest, ALossThatCouldPassItsGradientOnGivesItsInputOne) {
    Value *x = nullptr, *h = nullptr;
    Tape& tape = lay_out(true, [&](Tape& t) {
        x = t.input(DType::f32, {1});
        h = multiply(t, x, t.parameter(weight_tensor_, grad_tensor_));
        Value* loss = t.activation(DType::f32, {1});
        t.record({.name = "loss",
                  .inputs = {h},
                  .output = loss,
                  .forward = [=, in = h](Context&) { at(loss->data) = at(in->data); },
                  .backward = [in = h](Context&, std::span<const GradMode>) { at(in->grad) = 1.0f; },
                  .gradient_passes_to = 0});
        t.finish(loss);
        EXPECT_FALSE(loss->grad);
    });
    at(x->data) = 2.0f;
    tape.forward();
    tape.backward();
    EXPECT_FLOAT_EQ(weight_grad_, 2.0f);
}

TEST_F(TapeTest, RefusesALossThatIsNotLast) {
    Tape tape(context_, arena_, true);
    Value* x = tape.input(DType::f32, {1});
    Value* first = end(tape, x);
    end(tape, x);
    EXPECT_THROW(tape.finish(first), Error);
    Tape empty(context_, arena_, true);
    EXPECT_THROW(empty.finish(first), Error);
}

TEST_F(TapeTest, RefusesAParameterThatIsReadTwice) {
    Tape tape(context_, arena_, true);
    Value* x = tape.input(DType::f32, {1});
    Value* h = multiply(tape, x, tape.parameter(weight_tensor_, grad_tensor_));
    Value* loss = end(tape, multiply(tape, h, tape.parameter(weight_tensor_, grad_tensor_)));
    EXPECT_THROW(tape.finish(loss), Error);
}

}  // namespace
}  // namespace qstep

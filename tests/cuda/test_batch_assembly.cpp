// Batches out of a data set: the GPU's against the CPU's, whose own are held to the data loader's in
// tests/data.
#include "kernels/batch_assembly.h"

#include "tests/cuda/twin.h"

namespace qstep {
namespace {

using test::Twin;

class BatchAssemblyOnCuda : public test::OnBoth {
  protected:
    static constexpr std::int64_t kCount = 37, kBatch = 8;
    static constexpr std::int64_t kSeed = 11;

    void SetUp() override {
        OnBoth::SetUp();
        if (IsSkipped()) return;
        bytes_.emplace(gpu(), DType::u8, Shape{kCount, kImageBytes});
        set_labels_.emplace(gpu(), DType::u8, Shape{kCount});
        order_.emplace(gpu(), DType::i32, Shape{kCount});
        place_.emplace(gpu(), DType::i64, Shape{3});
        const RandomStream stream{.seed = 3};
        for (std::int64_t i = 0; i < kCount * kImageBytes; ++i)
            bytes_->cpu().as<std::uint8_t>()[i] =
                static_cast<std::uint8_t>(stream.bits(static_cast<std::uint64_t>(i)));
        for (std::int64_t i = 0; i < kCount; ++i) {
            set_labels_->cpu().as<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 10);
            order_->cpu().as<std::int32_t>()[i] = static_cast<std::int32_t>(i * 5 % kCount);
        }
        bytes_->upload();
        set_labels_->upload();
        order_->upload();
    }
    void go_to_on_cpu(std::int64_t epoch, std::int64_t batch, std::int64_t seed = kSeed) {
        place_->cpu().as<std::int64_t>()[0] = epoch;
        place_->cpu().as<std::int64_t>()[1] = batch;
        place_->cpu().as<std::int64_t>()[2] = seed;
    }
    void go_to(std::int64_t epoch, std::int64_t batch, std::int64_t seed = kSeed) {
        go_to_on_cpu(epoch, batch, seed);
        place_->upload();
    }
    Tensor seed(const Context& c) const { return {place_->on(c).as<std::int64_t>() + 2, DType::i64, {1}}; }
    ImageSet set(const Context& c) const { return {bytes_->on(c), set_labels_->on(c)}; }
    BatchPlace place(const Context& c, bool ordered = true) const {
        auto* counters = place_->on(c).as<std::int64_t>();
        return {ordered ? order_->on(c) : Tensor{},
                {counters, DType::i64, {1}},
                {counters + 1, DType::i64, {1}},
                kBatch};
    }
    std::optional<Twin> bytes_, set_labels_, order_, place_;
};

TEST_F(BatchAssemblyOnCuda, SameBitsAsTheCpu) {
    for (const DType dtype : test::kFloatTypes)
        for (const std::int64_t batch : {0, 1, 4}) {
            const std::int64_t size = std::min(kBatch, kCount - batch * kBatch);
            Twin images(gpu(), dtype, {size, 32, 32, 3}), labels(gpu(), DType::i32, {size});
            for (const std::int64_t epoch : {0, 3}) {
                go_to(epoch, batch);
                QSTEP_ON_BOTH(
                    c, gather_training_batch(c, images.on(c), labels.on(c), set(c), place(c), seed(c)));
                images.expect_same_bits();
                labels.expect_same_bits();
            }
            for (const bool ordered : {true, false}) {
                QSTEP_ON_BOTH(
                    c, gather_evaluation_batch(c, images.on(c), labels.on(c), set(c), place(c, ordered)));
                images.expect_same_bits();
                labels.expect_same_bits();
            }
        }
}

TEST_F(BatchAssemblyOnCuda, WhatLiesOutsideTheSetIsNan) {
    Twin images(gpu(), DType::f32, {kBatch, 32, 32, 3}), labels(gpu(), DType::i32, {kBatch});
    order_->cpu().as<std::int32_t>()[33] = static_cast<std::int32_t>(kCount);
    order_->cpu().as<std::int32_t>()[34] = -1;
    order_->upload();
    go_to(0, 4);  // of which five images exist
    QSTEP_ON_BOTH(c, gather_training_batch(c, images.on(c), labels.on(c), set(c), place(c), seed(c)));
    images.expect_same_values();
    labels.expect_same_bits();
    const auto values = images.fetch().values();
    for (std::int64_t row = 0; row < kBatch; ++row)
        EXPECT_EQ(std::isnan(values[static_cast<std::size_t>(row * kImageBytes)]),
                  row == 1 || row == 2 || row >= 5)
            << row;
}

TEST_F(BatchAssemblyOnCuda, OneCapturedStepServesEveryBatchAndSeed) {
    Twin images(gpu(), DType::f32, {kBatch, 32, 32, 3}), labels(gpu(), DType::i32, {kBatch});
    go_to(0, 0);
    auto* counters = place_->gpu().as<std::int64_t>();
    const auto step = backend().capture(gpu(), [&](Context& c) {
        gather_training_batch(c, images.gpu(), labels.gpu(), set(c), place(c), seed(c));
        advance_counters(c, {counters + 1, DType::i64, {1}});
    });
    go_to(2, 0, kSeed + 1);
    step->launch(3);
    go_to_on_cpu(2, 2, kSeed + 1);
    gather_training_batch(cpu(), images.cpu(), labels.cpu(), set(cpu()), place(cpu()), seed(cpu()));
    images.expect_same_bits();
    labels.expect_same_bits();
    EXPECT_EQ(place_->fetch().tensor().as<std::int64_t>()[1], 3);
}

}  // namespace
}  // namespace qstep

// Shapes, tensors, arenas, the workspace, devices and captured steps.
#include <gtest/gtest.h>
#include <sched.h>

#include "engine/arena.h"
#include "engine/backend.h"
#include "engine/context.h"
#include "engine/tensor.h"

namespace qstep {
namespace {

const Device kCpu{DeviceKind::cpu, 0};

TEST(Shape, CountsAndPrints) {
    EXPECT_EQ(Shape({2, 3, 4, 5}).count(), 120);
    EXPECT_EQ(Shape({}).count(), 1);
    EXPECT_EQ(Shape({7, 0}).count(), 0);
    EXPECT_EQ(Shape({2, 3}).to_string(), "[2,3]");
    EXPECT_THROW(Shape({1, 1, 1, 1, 1}), Error);
    EXPECT_THROW(Shape({-1}), Error);
}

TEST(Tensor, RefusesTheWrongTypeAndShape) {
    std::vector<float> memory(6);
    const Tensor tensor{memory.data(), DType::f32, {2, 3}};
    EXPECT_EQ(tensor.bytes(), 24u);
    EXPECT_EQ(tensor.span<float>().size(), 6u);
    EXPECT_THROW(tensor.as<bf16>(), Error);
    EXPECT_NO_THROW(check_tensor(tensor, "x", DType::f32, {2, 3}));
    EXPECT_THROW(check_tensor(tensor, "x", DType::f32, {3, 2}), Error);
    EXPECT_THROW(check_tensor(tensor, "x", DType::bf16, {2, 3}), Error);
    EXPECT_THROW(check_tensor({}, "x", DType::f32, {}), Error);
}

TEST(DType, HasANameAndASize) {
    struct Expected {
        DType dtype;
        const char* name;
        std::size_t bytes;
    };
    for (const Expected& expected : {Expected{DType::f32, "f32", 4},
                                     {DType::bf16, "bf16", 2},
                                     {DType::u8, "u8", 1},
                                     {DType::i32, "i32", 4},
                                     {DType::i64, "i64", 8},
                                     {DType::f64, "f64", 8}}) {
        EXPECT_STREQ(name_of(expected.dtype), expected.name);
        EXPECT_EQ(size_of(expected.dtype), expected.bytes);
    }
    EXPECT_THROW(name_of(static_cast<DType>(99)), Error);
    EXPECT_THROW(size_of(static_cast<DType>(99)), Error);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsSpecials) {
    EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
    EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // tie, even below
    EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);  // tie, even above
    EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
    EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f7fffffu)).bits, 0x7f80);  // largest float becomes infinity
    EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f800001u)).bits & 0x7fc0, 0x7fc0);
    EXPECT_EQ(to_float(bf16{0xc040}), -3.0f);
}

TEST(Arena, MeasuresThenGivesThatMuchAndNoMore) {
    Arena arena(kCpu, "test arena");
    const std::size_t base = arena.mark();
    arena.allocate(DType::f32, {100});
    arena.rewind(base);
    arena.allocate(DType::f32, {10});
    arena.allocate(DType::u8, {1});
    EXPECT_FALSE(arena.committed());
    arena.commit();
    EXPECT_EQ(arena.capacity(), 448u);  // 400 bytes rounded up to a multiple of 64
    const Tensor a = arena.allocate(DType::f32, {10});
    const Tensor b = arena.allocate(DType::u8, {1});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data) % Arena::kAlignment, 0u);
    EXPECT_EQ(static_cast<std::byte*>(b.data) - static_cast<std::byte*>(a.data), 64);
    a.span<float>()[9] = 1.0f;
    EXPECT_THROW(arena.allocate(DType::f32, {100}), Error);
    EXPECT_THROW(arena.commit(), Error);
}

TEST(Arena, RewindGivesTheSameAddressAgain) {
    Arena arena(kCpu, "test arena");
    arena.allocate(DType::f32, {64});
    arena.commit();
    const std::size_t mark = arena.mark();
    const void* first = arena.allocate(DType::f32, {64}).data;
    arena.rewind(mark);
    EXPECT_EQ(arena.allocate(DType::f32, {64}).data, first);
    EXPECT_THROW(arena.rewind(1u << 20), Error);
}

TEST(Workspace, LendsWhatWasReserved) {
    Workspace workspace(kCpu);
    workspace.reserve(100);
    workspace.reserve(50);
    EXPECT_THROW(workspace.lend(1), Error);
    workspace.freeze();
    const void* lent = workspace.lend(100);
    EXPECT_NE(lent, nullptr);
    workspace.freeze();
    EXPECT_EQ(workspace.lend(100), lent);
    EXPECT_THROW(workspace.lend(101), Error);
    EXPECT_NO_THROW(workspace.reserve(100));
    EXPECT_THROW(workspace.reserve(101), Error);
}

TEST(Device, ParsesNames) {
    EXPECT_EQ(parse_device("cpu"), kCpu);
    EXPECT_EQ(parse_device("cuda:1"), (Device{DeviceKind::cuda, 1}));
    EXPECT_EQ(to_string(parse_device("cuda")), "cuda:0");
    EXPECT_EQ(device_count(DeviceKind::cpu), 1);
    for (const char* wrong : {"gpu", "cuda:", "cuda:-1", "cuda:1x", ""})
        EXPECT_THROW(parse_device(wrong), Error);
    if (device_count(DeviceKind::cuda) == 0) {
        EXPECT_EQ(parse_device("auto"), kCpu);
        EXPECT_THROW(Context context({DeviceKind::cuda, 0}), Error);
    }
}

TEST(Context, TakesAllProcessorsWhereNoNumberIsGiven) {
    cpu_set_t processors;
    ASSERT_EQ(sched_getaffinity(0, sizeof processors, &processors), 0);
    EXPECT_EQ(Context(kCpu, 0).threads(), CPU_COUNT(&processors));
    EXPECT_EQ(Context(kCpu, 3).threads(), 3);
}

TEST(PlanCache, MakesAPlanOnceForEachKey) {
    struct Key {
        std::int64_t a, b;
    };
    PlanCache cache;
    int made = 0;
    const auto make = [&] { return std::make_shared<int>(++made); };
    EXPECT_EQ(cache.get<int>(Key{1, 2}, make), 1);
    EXPECT_EQ(cache.get<int>(Key{1, 3}, make), 2);
    EXPECT_EQ(cache.get<int>(Key{1, 2}, make), 1);
}

TEST(CapturedStep, RunsAsOftenAsItIsLaunched) {
    Context context(kCpu, 1);
    int runs = 0;
    const auto step = backend(kCpu).capture(context, [&](Context&) { ++runs; });
    const int after_capture = runs;
    step->launch(3);
    EXPECT_EQ(runs - after_capture, 3);
}

}  // namespace
}  // namespace qstep

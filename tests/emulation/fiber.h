// Stacks, and the switch from one to another.
#pragma once

#include <cstddef>
#include <vector>

namespace emulation {

/// Where a suspended flow of control goes on.
struct Suspended {
    void* stack_pointer = nullptr;
};

/// Suspends the running flow into `from` and goes on with `to`.
void switch_flow(Suspended& from, Suspended to);

/// Stacks of one size, each with a page below it that may not be touched; reused in last-in-first-out order.
class StackPool {
  public:
    static constexpr std::size_t kBytes = 128 << 10;

    StackPool() = default;
    ~StackPool();
    StackPool(const StackPool&) = delete;
    StackPool& operator=(const StackPool&) = delete;

    /// A flow that starts with entry(), which must never return, on a stack that nobody uses.
    Suspended start(void (*entry)(), void** stack);
    void give_back(void* stack) { free_.push_back(stack); }
    /// Gives back every stack, whatever still runs on it.
    void reclaim_all() { free_ = all_; }

  private:
    std::vector<void*> all_;
    std::vector<void*> free_;
};

}  // namespace emulation

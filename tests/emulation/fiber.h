// Stacks, and the switch from one to another.
#pragma once

#include <cstddef>
#include <vector>

namespace emulation {

/// A flow of control that is not running: its stack, and where on it the flow goes on.
struct Flow {
    void* stack = nullptr;  // the lowest address
    std::size_t bytes = 0;
    void* stack_pointer = nullptr;
};

/// The calling thread's own stack.
Flow thread_flow();
/// Suspends the running flow into `from`, which knows its stack already, and goes on with `to`.
void switch_flow(Flow& from, const Flow& to);
/// The first thing that a new flow calls.
void flow_begins();

/// Stacks of one size, each with a page below it that may not be touched; reused in last-in-first-out order.
class StackPool {
  public:
    static constexpr std::size_t kBytes = 128 << 10;

    StackPool() = default;
    ~StackPool();
    StackPool(const StackPool&) = delete;
    StackPool& operator=(const StackPool&) = delete;

    /// A flow that starts with entry(), which calls flow_begins() and never returns, on a stack nobody uses.
    Flow start(void (*entry)());
    void give_back(const Flow& flow) { free_.push_back(flow.stack); }
    /// Gives back every stack, whatever still runs on it.
    void reclaim_all() { free_ = all_; }

  private:
    std::vector<void*> all_;
    std::vector<void*> free_;
};

}  // namespace emulation

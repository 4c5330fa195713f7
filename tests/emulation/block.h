// Runs the threads of one block after another as fibers; see emulation/language.h.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "emulation/language.h"
#include "fiber.h"

namespace emulation {

/// In which order threads and blocks get their turn. What depends on it lacks a barrier.
enum class Order { forward, reverse, shuffled };

class BlockRunner {
  public:
    /// Runs the block that blockIdx names; `early`: as in Launch. Returns what was misused, or "".
    std::string run(int threads, Order order, bool early, const std::function<void()>& thread);

    void wait_for_predecessor() { threads_[static_cast<std::size_t>(current_)].waited = true; }
    void block_barrier(const char* name, std::source_location where);
    int counting_barrier(bool predicate, std::source_location where);
    WarpValues warp_collective(const char* name, unsigned mask, std::uint64_t value,
                               std::source_location where);

  private:
    enum class State : std::uint8_t { unstarted, ready, waiting, done };
    struct Thread {
        State state;
        Flow flow;
        const char* waits_in;
        std::source_location where;
        bool waited;  // for the predecessor
    };
    struct Warp {
        int arrived = 0;
        int parity = 0;
        const char* name = nullptr;
        std::source_location where;
        std::uint64_t values[2][32];
    };

    static void fiber_entry();
    void run_threads();
    /// The next thread whose turn it is becomes the current one; false where all wait or are done.
    bool take_turn();
    void wait(const char* name, std::source_location where);
    void resume_current(Flow& from);
    void wake(int first, int count);
    void enter(int index);
    /// Gives up the block; nothing on the stacks of its threads is destroyed any more.
    [[noreturn]] void leave();
    std::string describe_waiting() const;
    std::string describe_hasty() const;

    const std::function<void()>* body_ = nullptr;
    int count_ = 0;
    int done_ = 0;
    int current_ = 0;
    Flow scheduler_;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    std::vector<int> order_;
    std::deque<int> turns_;
    int at_barrier_ = 0;
    int barrier_sum_ = 0;
    int last_barrier_sum_ = 0;
    const char* barrier_name_ = nullptr;
    std::source_location barrier_where_;
    std::string misuse_;
    StackPool stacks_;
};

/// The one that kernels run on.
BlockRunner& block_runner();
/// Gives the next block this much dynamic shared memory.
void poison_shared(std::size_t bytes);

}  // namespace emulation

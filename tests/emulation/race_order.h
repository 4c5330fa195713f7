// Which accesses of a launch come before others whatever the device does: the happens-before order that
// barriers, and fences with atomics, make between threads that otherwise run at any speed. Lanes of a warp do
// too: a shuffle or a vote waits for all lanes but, as CUDA has it, orders no memory; __syncwarp does both.
//
// Within a block only barriers count. Between blocks, what a thread did before a __threadfence reaches those
// that behind another __threadfence follow it through atomics on one word of device memory; barriers carry
// both ends on to the rest of a block. (__threadfence is fence.sc of PTX: of two fences the one whose
// block's atomic was seen comes first.)
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "emulation/language.h"

namespace emulation::races {

/// What a thread runs from one of its barriers or fences to the next: how many of each were before.
struct Stretch {
    unsigned block = 0, thread = 0;
    unsigned block_barriers = 0, warp_barriers = 0, fences = 0;
};

/// Of a block: what is over. Either all before the block's barrier number `barriers`, or what a thread did
/// before its fence number fences[thread].
struct Released {
    unsigned barriers = 0;
    std::vector<unsigned> fences;
};

/// By block.
using Known = std::map<unsigned, std::shared_ptr<const Released>>;

class Order {
  public:
    /// Nothing that was before a launch races with it.
    void begin_launch();
    void begin_block(unsigned block, unsigned threads);

    /// Whose the following is.
    void set_running(unsigned thread) { running_ = &threads_[thread]; }
    void arrive_at_block_barrier();
    void pass_block_barrier();
    void pass_warp_barrier();
    void fence();
    /// An atomic operation on a word of device memory.
    void atomic(const void* address);
    /// Whether the launch has had a fence, without which an atomic puts nothing in order.
    bool had_fence() const { return had_fence_; }

    /// Number of the stretch that runs, from 1 on.
    std::uint32_t now() { return running_->number != 0 ? running_->number : number_running(); }
    const Stretch& stretch(std::uint32_t number) const { return stretches_[number]; }
    /// Whether all of an earlier stretch is over for the running thread. in_shared: the memory is a block's.
    bool is_over(std::uint32_t number, bool in_shared) const {
        const Stretch &earlier = stretches_[number], &now = running_->now;
        if (earlier.block != now.block) return in_shared || is_over_elsewhere(earlier);
        return earlier.block_barriers < now.block_barriers || earlier.thread == now.thread ||
               (earlier.warp_barriers < now.warp_barriers &&
                earlier.thread / warpSize == now.thread / warpSize);
    }

  private:
    /// What a thread may count on, as far as other blocks matter.
    struct Knowledge {
        Known released;  // what its fences have let go of; its atomics hand it on
        Known seen;      // what atomics have handed to it; its next fence makes use of it
        Known acquired;
    };
    struct Thread {
        Stretch now;
        std::uint32_t number = 0;  // of the stretch, 0: has none yet
        std::shared_ptr<const Knowledge> knowledge;
    };
    /// At one barrier: all that arrive put together.
    struct Meeting {
        unsigned barrier = 0;
        std::shared_ptr<const Knowledge> all, latest;
    };

    static void add(Known& to, const Known& more);
    static void add(Knowledge& to, const Knowledge& more);
    std::uint32_t number_running();
    bool is_over_elsewhere(const Stretch& earlier) const;

    Thread* running_ = nullptr;
    bool had_fence_ = false;
    std::vector<Thread> threads_;
    std::vector<Stretch> stretches_;
    Meeting meetings_[2];                     // threads leave one while others come to the next
    std::map<const void*, Known> handed_on_;  // by the word that atomics are on
};

}  // namespace emulation::races

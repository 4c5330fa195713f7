#include "block.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>

#include <fmt/format.h>

#include "async_copy.h"
#include "races.h"
#include "state.h"

namespace emulation {

namespace {

constexpr unsigned kFullMask = 0xffffffffu;

std::string place(const std::source_location& where) {
    std::string_view file(where.file_name());
    if (const auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
    return fmt::format("{}:{}", file, where.line());
}

bool same_place(const std::source_location& a, const std::source_location& b) {
    return a.line() == b.line() && a.column() == b.column() &&
           std::string_view(a.file_name()) == b.file_name();
}

}  // namespace

BlockRunner& block_runner() {
    static BlockRunner runner;
    return runner;
}

std::string BlockRunner::run(int threads, Order order, bool early, const std::function<void()>& thread) {
    body_ = &thread;
    count_ = threads;
    done_ = 0;
    at_barrier_ = barrier_sum_ = 0;
    misuse_.clear();
    threads_.assign(static_cast<std::size_t>(threads), Thread{State::unstarted, {}, nullptr, {}, !early});
    warps_.resize(static_cast<std::size_t>(threads + warpSize - 1) / warpSize);
    for (Warp& warp : warps_) warp.arrived = 0;
    order_.resize(static_cast<std::size_t>(threads));
    std::iota(order_.begin(), order_.end(), 0);
    if (order == Order::reverse) std::reverse(order_.begin(), order_.end());
    if (order == Order::shuffled) std::shuffle(order_.begin(), order_.end(), std::mt19937(blockIdx.x));
    turns_.assign(order_.begin(), order_.end());
    forget_copies(threads, order != Order::forward);

    races::begin_block();
    take_turn();
    scheduler_ = thread_flow();
    resume_current(scheduler_);

    // Where a thread never came to its end its stack is simply taken from it.
    stacks_.reclaim_all();
    if (misuse_.empty() && done_ < count_) misuse_ = describe_waiting();
    if (misuse_.empty()) misuse_ = races::found();
    if (misuse_.empty()) misuse_ = describe_hasty();
    return misuse_;
}

void BlockRunner::fiber_entry() {
    flow_begins();
    block_runner().run_threads();
}

// One fiber runs thread after thread, so that a kernel without barriers never switches.
void BlockRunner::run_threads() {
    const Flow own = threads_[static_cast<std::size_t>(current_)].flow;
    for (;;) {
        enter(current_);
        races::resume();
        (*body_)();
        races::pause();
        threads_[static_cast<std::size_t>(current_)].state = State::done;
        ++done_;
        if (!take_turn()) leave();
        Thread& next = threads_[static_cast<std::size_t>(current_)];
        if (next.state == State::unstarted) {
            next.flow = own;
            continue;
        }
        stacks_.give_back(own);
        Flow never;
        resume_current(never);
    }
}

bool BlockRunner::take_turn() {
    if (turns_.empty()) return false;
    current_ = turns_.front();
    turns_.pop_front();
    return true;
}

void BlockRunner::enter(int index) {
    threadIdx = dim3(static_cast<unsigned>(index), 0, 0);
    threads_[static_cast<std::size_t>(index)].state = State::ready;
}

void BlockRunner::resume_current(Flow& from) {
    Thread& next = threads_[static_cast<std::size_t>(current_)];
    if (next.state == State::unstarted) next.flow = stacks_.start(&fiber_entry);
    switch_flow(from, next.flow);
}

void BlockRunner::wait(const char* name, std::source_location where) {
    const int own = current_;
    Thread& thread = threads_[static_cast<std::size_t>(own)];
    thread.state = State::waiting;
    thread.waits_in = name;
    thread.where = where;
    if (!take_turn()) leave();
    resume_current(thread.flow);
    enter(own);
}

void BlockRunner::wake(int first, int count) {
    for (const int index : order_)
        if (index >= first && index < first + count && index != current_) turns_.push_back(index);
}

void BlockRunner::block_barrier(const char* name, std::source_location where) {
    if (at_barrier_ == 0) {
        barrier_name_ = name;
        barrier_where_ = where;
    } else if (!same_place(barrier_where_, where)) {
        misuse_ = fmt::format("thread {} waits in {} at {} while others wait in {} at {}", current_, name,
                              place(where), barrier_name_, place(barrier_where_));
        leave();
    }
    if (++at_barrier_ < count_) return wait(name, where);
    at_barrier_ = 0;
    last_barrier_sum_ = barrier_sum_;
    barrier_sum_ = 0;
    wake(0, count_);
}

int BlockRunner::counting_barrier(bool predicate, std::source_location where) {
    barrier_sum_ += predicate;
    block_barrier("a counting __syncthreads", where);
    return last_barrier_sum_;
}

WarpValues BlockRunner::warp_collective(const char* name, unsigned mask, std::uint64_t value,
                                        std::source_location where) {
    const int own = current_, first = own / warpSize * warpSize;
    Warp& warp = warps_[static_cast<std::size_t>(own / warpSize)];
    if (mask != kFullMask) {
        misuse_ = fmt::format("{} at {} with the mask {:#x}: only whole warps are supported", name,
                              place(where), mask);
        leave();
    }
    if (first + warpSize > count_) {
        misuse_ = fmt::format("{} at {} in a warp of {} threads: the block's size is no multiple of 32", name,
                              place(where), count_ - first);
        leave();
    }
    if (warp.arrived == 0) {
        warp.name = name;
        warp.where = where;
    } else if (!same_place(warp.where, where)) {
        misuse_ = fmt::format("thread {} waits in {} at {} while others of its warp wait in {} at {}", own,
                              name, place(where), warp.name, place(warp.where));
        leave();
    }
    // Two sets: a thread writes the next values while slower ones may still read these.
    std::uint64_t* const values = warp.values[warp.parity];
    values[own - first] = value;
    if (++warp.arrived < warpSize) {
        wait(name, where);
    } else {
        warp.arrived = 0;
        warp.parity ^= 1;
        wake(first, warpSize);
    }
    return values;
}

std::string BlockRunner::describe_waiting() const {
    const auto waits = std::find_if(threads_.begin(), threads_.end(),
                                    [](const Thread& thread) { return thread.state == State::waiting; });
    const auto together = std::count_if(threads_.begin(), threads_.end(), [&](const Thread& thread) {
        return thread.state == State::waiting && same_place(thread.where, waits->where);
    });
    return fmt::format(
        "{} of {} threads wait in {} at {} for others that never come; {} have ended, {} wait elsewhere",
        together, count_, waits->waits_in, place(waits->where), done_, count_ - done_ - together);
}

std::string BlockRunner::describe_hasty() const {
    const auto hasty =
        std::count_if(threads_.begin(), threads_.end(), [](const Thread& thread) { return !thread.waited; });
    if (hasty == 0) return {};
    return fmt::format(
        "{} of {} threads ended without wait_for_predecessor(), though the kernel before may still run",
        hasty, count_);
}

void BlockRunner::leave() {
    Flow never;
    switch_flow(never, scheduler_);
    std::abort();
}

void block_barrier(std::source_location where) {
    races::arrive_at_block_barrier();
    block_runner().block_barrier("__syncthreads", where);
    races::pass_block_barrier();
}

void wait_for_predecessor() {
    races::pause();
    show_device_memory();
    block_runner().wait_for_predecessor();
    races::resume();
}

int counting_barrier(bool predicate, std::source_location where) {
    races::arrive_at_block_barrier();
    const int sum = block_runner().counting_barrier(predicate, where);
    races::pass_block_barrier();
    return sum;
}

WarpValues warp_collective(const char* name, unsigned mask, std::uint64_t value, std::source_location where) {
    races::pause();
    const WarpValues values = block_runner().warp_collective(name, mask, value, where);
    races::pass_warp_collective(false);
    return values;
}

void warp_barrier(unsigned mask, std::source_location where) {
    races::pause();
    block_runner().warp_collective("__syncwarp", mask, 0, where);
    races::pass_warp_collective(true);
}

}  // namespace emulation

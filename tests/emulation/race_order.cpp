#include "race_order.h"

#include <algorithm>

namespace emulation::races {

void Order::begin_launch() {
    stretches_.assign(1, Stretch{});
    handed_on_.clear();
    had_fence_ = false;
}

void Order::begin_block(unsigned block, unsigned threads) {
    threads_.assign(threads, Thread{});
    for (unsigned thread = 0; thread < threads; ++thread) threads_[thread].now = {block, thread, 0, 0, 0};
    for (Meeting& meeting : meetings_) meeting = {};
}

void Order::arrive_at_block_barrier() {
    const Thread& thread = *running_;
    Meeting& meeting = meetings_[thread.now.block_barriers % 2];
    if (meeting.barrier != thread.now.block_barriers) meeting = {thread.now.block_barriers, nullptr, nullptr};
    if (thread.knowledge == nullptr || thread.knowledge == meeting.latest) return;
    meeting.latest = thread.knowledge;
    if (meeting.all == nullptr) {
        meeting.all = thread.knowledge;
        return;
    }
    auto sum = std::make_shared<Knowledge>(*meeting.all);
    add(*sum, *thread.knowledge);
    meeting.all = std::move(sum);
}

void Order::pass_block_barrier() {
    Thread& thread = *running_;
    const Meeting& meeting = meetings_[thread.now.block_barriers % 2];
    if (meeting.all != nullptr) thread.knowledge = meeting.all;
    ++thread.now.block_barriers;
    thread.number = 0;
}

void Order::pass_warp_barrier() {
    Thread& thread = *running_;
    ++thread.now.warp_barriers;
    thread.number = 0;
}

void Order::fence() {
    had_fence_ = true;
    Thread& thread = *running_;
    auto after = std::make_shared<Knowledge>();
    if (thread.knowledge != nullptr) *after = *thread.knowledge;
    add(after->acquired, after->seen);
    after->seen.clear();
    add(after->released, after->acquired);

    auto own = std::make_shared<Released>();
    if (const auto found = after->released.find(thread.now.block); found != after->released.end())
        *own = *found->second;
    own->fences.resize(threads_.size());
    own->fences[thread.now.thread] = ++thread.now.fences;
    own->barriers = std::max(own->barriers, thread.now.block_barriers);
    after->released[thread.now.block] = std::move(own);
    thread.knowledge = std::move(after);
    thread.number = 0;
}

void Order::atomic(const void* address) {
    Thread& thread = *running_;
    const auto before = handed_on_.find(address);
    const bool gets = before != handed_on_.end();
    const bool gives = thread.knowledge != nullptr && !thread.knowledge->released.empty();
    if (!gets && !gives) return;
    auto after = std::make_shared<Knowledge>();
    if (thread.knowledge != nullptr) *after = *thread.knowledge;
    if (gets) add(after->seen, before->second);
    if (gives) add(handed_on_[address], after->released);
    thread.knowledge = std::move(after);
}

void Order::add(Known& to, const Known& more) {
    for (const auto& [block, released] : more) {
        auto& known = to[block];
        if (known == released) continue;
        if (known == nullptr) {
            known = released;
            continue;
        }
        auto sum = std::make_shared<Released>(*known);
        sum->barriers = std::max(sum->barriers, released->barriers);
        for (std::size_t i = 0; i < sum->fences.size(); ++i)
            sum->fences[i] = std::max(sum->fences[i], released->fences[i]);
        known = std::move(sum);
    }
}

void Order::add(Knowledge& to, const Knowledge& more) {
    add(to.released, more.released);
    add(to.seen, more.seen);
    add(to.acquired, more.acquired);
}

std::uint32_t Order::number_running() {
    running_->number = static_cast<std::uint32_t>(stretches_.size());
    stretches_.push_back(running_->now);
    return running_->number;
}

bool Order::is_over_elsewhere(const Stretch& earlier) const {
    if (running_->knowledge == nullptr) return false;
    const Known& acquired = running_->knowledge->acquired;
    const auto found = acquired.find(earlier.block);
    return found != acquired.end() && (earlier.block_barriers < found->second->barriers ||
                                       earlier.fences < found->second->fences[earlier.thread]);
}

}  // namespace emulation::races

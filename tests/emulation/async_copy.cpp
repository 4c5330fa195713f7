#include "async_copy.h"

#include <deque>
#include <vector>

#include "emulation/async_copy.h"

namespace emulation {

namespace {

/// Groups of one thread, the last of which is still open.
using Groups = std::deque<std::deque<AsyncCopy>>;

bool late = false;
std::vector<Groups> of_threads;

Groups& own() {
    return of_threads[threadIdx.x];
}

}  // namespace

void forget_copies(int threads, bool are_late) {
    late = are_late;
    of_threads.assign(late ? static_cast<std::size_t>(threads) : 0, Groups(1));
}

bool copies_are_late() {
    return late;
}

void queue_copy(const AsyncCopy& copy) {
    own().back().push_back(copy);
}

void end_copy_group() {
    if (late) own().emplace_back();
}

bool next_copy(int pending, AsyncCopy& copy) {
    if (!late) return false;
    Groups& groups = own();
    while (static_cast<int>(groups.size()) - 1 > pending && groups.front().empty()) groups.pop_front();
    if (static_cast<int>(groups.size()) - 1 <= pending) return false;
    copy = groups.front().front();
    groups.front().pop_front();
    return true;
}

}  // namespace emulation

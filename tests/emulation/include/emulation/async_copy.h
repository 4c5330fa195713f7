// Copies that a thread does not wait for (PTX ISA, "cp.async"). When they happen is open between the call and
// the wait; here at once where threads run in forward order, and as late as they may in the others, with NaN
// in their place until then.
#pragma once

#include "emulation/language.h"

namespace emulation {

struct AsyncCopy {
    void* to;
    const void* from;
    bool present;  // otherwise zeros

    void run() const {
        if (present)
            std::memcpy(to, from, 16);
        else
            std::memset(to, 0, 16);
    }
};

/// Whether the block that runs has its copies late.
bool copies_are_late();
/// Of the thread that runs.
void queue_copy(const AsyncCopy& copy);
void end_copy_group();
/// Takes the next copy out of all groups but the last `pending`; false where there is none.
bool next_copy(int pending, AsyncCopy& copy);

inline void copy_16_bytes_async(void* to, const void* from, bool present) {
    const AsyncCopy copy{to, from, present};
    if (!copies_are_late()) return copy.run();
    std::memset(to, 0xff, 16);
    queue_copy(copy);
}

inline void wait_for_copies(int pending) {
    AsyncCopy copy;
    while (next_copy(pending, copy)) copy.run();
}

}  // namespace emulation

// The dynamic shared memory of the block that runs: full of NaN at its start, and nothing behind its end.
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "block.h"

namespace emulation {

namespace {

constexpr std::size_t kMost = 256 << 10;
constexpr std::size_t kAlignment = 16;
std::size_t bytes_of_block = 0;

std::byte* end_of_shared() {
    static std::byte* const end = [] {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        void* memory =
            mmap(nullptr, kMost + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        mprotect(static_cast<std::byte*>(memory) + kMost, page, PROT_NONE);
        return static_cast<std::byte*>(memory) + kMost;
    }();
    return end;
}

}  // namespace

void* dynamic_shared() {
    return end_of_shared() - bytes_of_block;
}

void poison_shared(std::size_t bytes) {
    bytes_of_block = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (bytes_of_block > 0) std::memset(dynamic_shared(), 0xff, bytes_of_block);
}

bool is_dynamic_shared(std::uintptr_t address) {
    const auto end = reinterpret_cast<std::uintptr_t>(end_of_shared());
    return address < end && address >= end - kMost;
}

}  // namespace emulation

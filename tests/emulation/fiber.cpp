#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "the emulation switches stacks on x86-64 only"
#endif

// swapcontext() would do, but it enters the kernel for the signal mask each time.
asm(R"(
    .text
    .type emulation_switch_stacks, @function
emulation_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch_stacks, .-emulation_switch_stacks
)");
extern "C" void emulation_switch_stacks(void** from, void* to);

namespace emulation {

namespace {

constexpr int kSavedRegisters = 6;

std::size_t page_bytes() {
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Flow thread_flow() {
    thread_local const Flow flow = [] {
        Flow own;
        pthread_attr_t attributes;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &own.stack, &own.bytes);
        pthread_attr_destroy(&attributes);
        return own;
    }();
    return flow;
}

#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer must know which stack is in use.
void switch_flow(Flow& from, const Flow& to) {
    void* state = nullptr;
    __sanitizer_start_switch_fiber(&state, to.stack, to.bytes);
    emulation_switch_stacks(&from.stack_pointer, to.stack_pointer);
    __sanitizer_finish_switch_fiber(state, nullptr, nullptr);
}

void flow_begins() {
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}
#else
void switch_flow(Flow& from, const Flow& to) {
    emulation_switch_stacks(&from.stack_pointer, to.stack_pointer);
}

void flow_begins() {}
#endif

StackPool::~StackPool() {
    for (void* stack : all_) munmap(static_cast<char*>(stack) - page_bytes(), kBytes + page_bytes());
}

Flow StackPool::start(void (*entry)()) {
    if (free_.empty()) {
        void* memory = mmap(nullptr, kBytes + page_bytes(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        mprotect(memory, page_bytes(), PROT_NONE);
        free_.push_back(static_cast<char*>(memory) + page_bytes());
        all_.push_back(free_.back());
    }
    void* const stack = free_.back();
    free_.pop_back();
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stack, kBytes);  // from a flow that never came to its end
#endif
    // As the switch expects it: registers, then where to return to. At a function's first instruction the
    // stack pointer is 8 below a multiple of 16.
    auto* top = reinterpret_cast<std::uintptr_t*>(static_cast<char*>(stack) + kBytes) - 1;
    *--top = reinterpret_cast<std::uintptr_t>(entry);
    for (int i = 0; i < kSavedRegisters; ++i) *--top = 0;
    return {stack, kBytes, top};
}

}  // namespace emulation

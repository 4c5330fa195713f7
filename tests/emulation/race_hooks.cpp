// The functions that code compiled with -fsanitize=thread calls: one for each kind and size of access, and
// for the host's atomic operations, which it asks to carry out.
#include "race_hooks.h"

using emulation::races::Access;

#define QSTEP_HOOK(name, bytes, kind)                                              \
    void __tsan_##name(const void* address) {                                      \
        emulation::races::note(address, bytes, kind, __builtin_return_address(0)); \
    }
#define QSTEP_HOOKS(bytes)                                 \
    QSTEP_HOOK(read##bytes, bytes, Access::read)           \
    QSTEP_HOOK(write##bytes, bytes, Access::write)         \
    QSTEP_HOOK(unaligned_read##bytes, bytes, Access::read) \
    QSTEP_HOOK(unaligned_write##bytes, bytes, Access::write)

// All orders are taken for the strongest one.
#define QSTEP_ATOMICS(bits, T)                                                                          \
    T __tsan_atomic##bits##_load(const volatile T* from, int) {                                         \
        return __atomic_load_n(from, __ATOMIC_SEQ_CST);                                                 \
    }                                                                                                   \
    void __tsan_atomic##bits##_store(volatile T* to, T value, int) {                                    \
        __atomic_store_n(to, value, __ATOMIC_SEQ_CST);                                                  \
    }                                                                                                   \
    T __tsan_atomic##bits##_exchange(volatile T* at, T value, int) {                                    \
        return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                                        \
    }                                                                                                   \
    T __tsan_atomic##bits##_fetch_add(volatile T* at, T value, int) {                                   \
        return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);                                         \
    }                                                                                                   \
    T __tsan_atomic##bits##_fetch_sub(volatile T* at, T value, int) {                                   \
        return __atomic_fetch_sub(at, value, __ATOMIC_SEQ_CST);                                         \
    }                                                                                                   \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T* at, T* expected, T value, int, int) { \
        return __atomic_compare_exchange_n(at, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    }                                                                                                   \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile T* at, T* expected, T value, int, int) {   \
        return __atomic_compare_exchange_n(at, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    }

extern "C" {

QSTEP_HOOKS(1)
QSTEP_HOOKS(2)
QSTEP_HOOKS(4)
QSTEP_HOOKS(8)
QSTEP_HOOKS(16)

void __tsan_read_range(const void* address, std::size_t bytes) {
    emulation::races::note(address, bytes, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(const void* address, std::size_t bytes) {
    emulation::races::note(address, bytes, Access::write, __builtin_return_address(0));
}

QSTEP_ATOMICS(8, unsigned char)
QSTEP_ATOMICS(32, unsigned)
QSTEP_ATOMICS(64, unsigned long)
void __tsan_atomic_thread_fence(int) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_init() {}
void __tsan_func_entry(const void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(const void*) {}
void __tsan_vptr_update(const void*, const void*) {}

}  // extern "C"

#include "races.h"

#include <link.h>
#include <unistd.h>

#include <cstdio>

#include <fmt/format.h>

#include "emulation/language.h"
#include "race_hooks.h"
#include "race_shadow.h"
#include "state.h"

namespace emulation::races {

namespace {

struct Watch {
    Order order;
    Shadow shadow;
    std::string found;
};

// Whether the thread of the host runs a kernel's thread, whose accesses these are.
thread_local bool watching = false;

Watch& watch() {
    static Watch instance;
    return instance;
}

/// By how much the program's addresses lie above those in its file.
std::uintptr_t load_address() {
    std::uintptr_t address = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* program, std::size_t, void* to) {
            *static_cast<std::uintptr_t*>(to) = program->dlpi_addr;
            return 1;  // the program itself comes first
        },
        &address);
    return address;
}

/// "reduce.cuh:41", and from where that was called as far as it became one function.
std::string in_words(std::uint32_t place) {
    char program[4096] = {};
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return "?";
    FILE* const lines = popen(fmt::format("addr2line -i -s -e '{}' {:#x}", program, place).c_str(), "r");
    if (lines == nullptr) return "?";
    std::string words;
    char line[512];
    while (std::fgets(line, sizeof line, lines) != nullptr) {
        const std::string_view text(line);
        if (text.starts_with("language.h:")) continue;  // where atomic operations are
        words += fmt::format("{}{}", words.empty() ? "" : " < ", text.substr(0, text.find_first_of(" \n")));
    }
    pclose(lines);
    return words;
}

std::string in_words(const Stretch& stretch, Access kind, std::uint32_t place, bool in_shared) {
    constexpr const char* kVerbs[] = {"reads", "writes", "has an atomic operation on"};
    return fmt::format("thread {}{} {} it at {}", stretch.thread,
                       in_shared ? std::string() : fmt::format(" of block {}", stretch.block),
                       kVerbs[static_cast<int>(kind)], in_words(place));
}

}  // namespace

void begin_launch() {
    watch().order.begin_launch();
    watch().shadow.clear();
    watch().found.clear();
}

void begin_block() {
    watch().order.begin_block(blockIdx.x, blockDim.x);
}

void resume() {
    watch().order.set_running(threadIdx.x);
    watching = watch().found.empty();
}

void pause() {
    watching = false;
}

void arrive_at_block_barrier() {
    pause();
    watch().order.arrive_at_block_barrier();
}

void pass_block_barrier() {
    watch().order.set_running(threadIdx.x);
    watch().order.pass_block_barrier();
    resume();
}

void pass_warp_collective(bool orders_memory) {
    watch().order.set_running(threadIdx.x);
    if (orders_memory) watch().order.pass_warp_barrier();
    resume();
}

std::string found() {
    return watch().found;
}

void note(const void* address, std::size_t bytes, Access kind, const void* place) {
    if (!watching) return;
    watching = false;  // what is called from here calls hooks too
    static const std::uintptr_t load = load_address();
    Watch& here = watch();
    const Trace now{here.order.now(),
                    static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(place) - load - 1)};
    Race race;
    if (here.shadow.note(here.order, now, kind, reinterpret_cast<std::uintptr_t>(address), bytes, race)) {
        const auto words = [&](const Trace& trace, Access kind_of_it) {
            return in_words(here.order.stretch(trace.stretch), kind_of_it, trace.place, race.in_shared);
        };
        here.found = fmt::format("a race on {} memory: {}, {}, and nothing orders the two",
                                 race.in_shared ? "shared" : "device", words(race.earlier, race.earlier_kind),
                                 words(now, kind));
    }
    watching = here.found.empty();
}

}  // namespace emulation::races

namespace emulation {

void atomic_access(const void* address, std::size_t bytes) {
    using namespace races;
    if (!watching) return;
    note(address, bytes, Access::atomic, __builtin_return_address(0));
    pause();
    if (watch().order.had_fence() && is_device_address(address)) watch().order.atomic(address);
    resume();
}

void device_fence() {
    using namespace races;
    pause();
    watch().order.fence();
    resume();
}

}  // namespace emulation

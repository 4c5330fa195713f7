// Device memory: pages of its own for each allocation, ending where the allocation ends, out of reach of
// host code.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>

#include "state.h"

namespace emulation {

namespace {

constexpr std::size_t kAlignment = 256;  // as CUDA promises
constexpr int kPoison = 0xff;            // NaN as f32, bf16 and f64; -1 as an integer

struct Allocation {
    std::byte* pages;
    std::size_t page_bytes;  // without the page behind, which is never in reach
    std::size_t bytes;
    int device;
};

struct Memory {
    std::map<std::uintptr_t, Allocation> allocations;  // by address
    std::set<void*> pinned;
    std::map<int, std::size_t> used;  // by device
    int access_depth = 0;
    std::string hidden_from;  // the kernel that has not waited for its predecessor yet
};

Memory& memory() {
    static Memory instance;
    return instance;
}

std::size_t page_size() {
    static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return size;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

std::size_t device_bytes() {
    return static_cast<std::size_t>(setting("QSTEP_EMULATED_MEMORY_MIB", 8192)) << 20;
}

void protect(const Allocation& allocation, int protection) {
    mprotect(allocation.pages, allocation.page_bytes, protection);
}

const Allocation* find(const void* address) {
    const auto& allocations = memory().allocations;
    const auto key = reinterpret_cast<std::uintptr_t>(address);
    auto after = allocations.upper_bound(key);
    if (after == allocations.begin()) return nullptr;
    const auto& [start, allocation] = *--after;
    return key <= start + allocation.bytes ? &allocation : nullptr;
}

void explain_fault(int signal, siginfo_t* info, void*) {
    const auto fault = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (const auto& [start, allocation] : memory().allocations) {
        const auto pages = reinterpret_cast<std::uintptr_t>(allocation.pages);
        if (fault < pages || fault >= pages + allocation.page_bytes + page_size()) continue;
        const std::string text =
            "emulated CUDA: " +
            (fault >= pages + allocation.page_bytes ? "access behind the end of device memory\n"
             : memory().hidden_from.empty()
                 ? "host code touched device memory\n"
                 : memory().hidden_from + " touched device memory before wait_for_predecessor()\n");
        if (write(STDERR_FILENO, text.data(), text.size()) < 0) break;
    }
    ::signal(signal, SIG_DFL);
    raise(signal);
}

void install_fault_handler() {
    static const bool installed = [] {
        struct sigaction action = {};
        action.sa_sigaction = &explain_fault;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, nullptr);
        return true;
    }();
    static_cast<void>(installed);
}

}  // namespace

std::recursive_mutex& device_mutex() {
    static std::recursive_mutex mutex;
    return mutex;
}

DeviceAccess::DeviceAccess() : lock_(device_mutex()) {
    if (memory().access_depth++ == 0)
        for (const auto& [start, allocation] : memory().allocations)
            protect(allocation, PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
    if (--memory().access_depth == 0)
        for (const auto& [start, allocation] : memory().allocations) protect(allocation, PROT_NONE);
}

void hide_device_memory(const std::string& kernel) {
    memory().hidden_from = kernel;
    for (const auto& [start, allocation] : memory().allocations) protect(allocation, PROT_NONE);
}

void show_device_memory() {
    if (memory().hidden_from.empty()) return;
    memory().hidden_from.clear();
    for (const auto& [start, allocation] : memory().allocations) protect(allocation, PROT_READ | PROT_WRITE);
}

bool on_device(const void* address, std::size_t bytes) {
    const std::lock_guard lock(device_mutex());
    const Allocation* allocation = find(address);
    return allocation != nullptr &&
           static_cast<const std::byte*>(address) + bytes <= allocation->pages + allocation->page_bytes;
}

bool is_device_address(const void* address) {
    const std::lock_guard lock(device_mutex());
    return find(address) != nullptr;
}

cudaError_t check_argument(const void* address) {
    const std::lock_guard lock(device_mutex());
    if (address == nullptr || find(address) != nullptr ||
        memory().pinned.contains(const_cast<void*>(address)))
        return cudaSuccess;
    return fail_launch("an argument points to memory that is not the device's");
}

}  // namespace emulation

using namespace emulation;

cudaError_t cudaMalloc(void** address, std::size_t bytes) {
    const std::lock_guard lock(device_mutex());
    install_fault_handler();
    if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
    *address = nullptr;
    if (bytes == 0) return cudaSuccess;
    int device = 0;
    cudaGetDevice(&device);
    std::size_t& used = memory().used[device];
    if (bytes > device_bytes() - used) return remember(cudaErrorMemoryAllocation);
    const std::size_t page_bytes = round_up(bytes, page_size());
    void* pages = mmap(nullptr, page_bytes + page_size(), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return remember(cudaErrorMemoryAllocation);
    std::memset(pages, kPoison, page_bytes);
    auto* const start = static_cast<std::byte*>(pages);
    mprotect(start + page_bytes, page_size(), PROT_NONE);
    *address = start + page_bytes - round_up(bytes, kAlignment);
    const Allocation allocation{start, page_bytes, bytes, device};
    memory().allocations[reinterpret_cast<std::uintptr_t>(*address)] = allocation;
    used += bytes;
    if (memory().access_depth == 0) protect(allocation, PROT_NONE);
    return cudaSuccess;
}

cudaError_t cudaFree(void* address) {
    const std::lock_guard lock(device_mutex());
    if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
    if (address == nullptr) return cudaSuccess;
    const auto found = memory().allocations.find(reinterpret_cast<std::uintptr_t>(address));
    if (found == memory().allocations.end()) return remember(cudaErrorInvalidValue);
    const Allocation allocation = found->second;
    memory().used[allocation.device] -= allocation.bytes;
    memory().allocations.erase(found);
    munmap(allocation.pages, allocation.page_bytes + page_size());
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void** address, std::size_t bytes) {
    const std::lock_guard lock(device_mutex());
    if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
    *address = std::malloc(bytes);
    if (*address == nullptr) return remember(cudaErrorMemoryAllocation);
    memory().pinned.insert(*address);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void* address) {
    const std::lock_guard lock(device_mutex());
    if (memory().pinned.erase(address) == 0) return remember(cudaErrorInvalidValue);
    std::free(address);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
    const std::lock_guard lock(device_mutex());
    int device = 0;
    cudaGetDevice(&device);
    *total = device_bytes();
    *free = *total - memory().used[device];
    return cudaSuccess;
}

#include "engine/cpu/backend.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "engine/arena.h"
#include "engine/eager_step.h"
#include "engine/error.h"

namespace qstep::cpu {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

class CpuBackend : public Backend {
  public:
    using Backend::allocate;
    void* allocate(std::size_t bytes, std::string_view remedy) override {
        const std::size_t alignment = bytes >= kHugePage ? kHugePage : Arena::kAlignment;
        const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
        void* address = std::aligned_alloc(alignment, rounded);
        if (address == nullptr)
            fail_run("the machine has no {:.1f} MiB of memory left{}{}",
                     static_cast<double>(bytes) / (1 << 20), remedy.empty() ? "" : "; ", remedy);
        // Activations are swept through in order; huge pages save most of the address translation.
        if (alignment == kHugePage) madvise(address, rounded, MADV_HUGEPAGE);
        return address;
    }
    void release(void* address) noexcept override { std::free(address); }
    void* make_stream() override { return nullptr; }
    void destroy_stream(void*) noexcept override {}
    void copy_in(Context&, void* to, const void* from, std::size_t bytes) override {
        std::memcpy(to, from, bytes);
    }
    void copy_out(Context&, void* to, const void* from, std::size_t bytes) override {
        std::memcpy(to, from, bytes);
    }
    void fill_zero(Context&, void* to, std::size_t bytes) override { std::memset(to, 0, bytes); }
    void synchronize(Context&) override {}
    std::unique_ptr<CapturedStep> capture(Context& context, std::function<void(Context&)> step,
                                          int) override {
        return std::make_unique<EagerStep>(context, std::move(step));
    }
    std::size_t cache_bytes() const override {
        // sysconf() tells what all processors of the package share, also where a machine has a part of it.
        std::ifstream size("/sys/devices/system/cpu/cpu0/cache/index3/size");
        std::size_t kibibytes = 0;
        return size >> kibibytes ? kibibytes << 10 : 0;
    }
    std::string description() const override {
        std::ifstream info("/proc/cpuinfo");
        std::string model = "unknown processor";
        for (std::string line; std::getline(info, line);)
            if (line.starts_with("model name")) {
                model = line.substr(line.find(':') + 2);
                break;
            }
#if defined(__x86_64__)
        const char* level = __builtin_cpu_supports("avx512bf16") ? "AVX-512 with bf16"
                            : __builtin_cpu_supports("avx512f")  ? "AVX-512"
                            : __builtin_cpu_supports("avx2")     ? "AVX2"
                                                                 : "SSE";
        return model + ", " + level;
#else
        return model;
#endif
    }
};

}  // namespace

Backend& cpu_backend() {
    static CpuBackend instance;
    return instance;
}

}  // namespace qstep::cpu

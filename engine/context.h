// What every kernel call is given: the device, its stream, scratch memory, plans kept between calls.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <typeindex>

#include "engine/arena.h"
#include "engine/device.h"

namespace qstep {

/// Library objects (oneDNN primitives, cuDNN plans, temporary sizes) made once per shape and kept. The key is
/// a plain struct without padding bytes; its bytes and its type identify the plan.
class PlanCache {
  public:
    /// The plan for `key`, made by `make()` (returning std::shared_ptr<Plan>) on first use.
    template <typename Plan, typename Key, typename Make>
    Plan& get(const Key& key, Make&& make) {
        static_assert(std::has_unique_object_representations_v<Key>, "a plan key must have no padding");
        std::string bytes(sizeof(Key), '\0');
        std::memcpy(bytes.data(), &key, sizeof(Key));
        auto& slot = plans_[{std::type_index(typeid(Plan)), std::move(bytes)}];
        if (!slot) slot = make();
        return *static_cast<Plan*>(slot.get());
    }

  private:
    std::map<std::pair<std::type_index, std::string>, std::shared_ptr<void>> plans_;
};

/// What kernels on CUDA may trade for speed. The CPU backend is deterministic for a fixed number of threads
/// and knows no tf32, so neither changes anything there.
struct Numerics {
    /// Only algorithms that add in a fixed order: two runs give the same bits.
    bool deterministic = false;
    /// Products of f32 matrices and convolutions may round their factors to 10 bits of mantissa (tf32).
    bool tf32 = false;
};

/// One per run. Calls through one context execute in order; a context is used by one thread at a time.
class Context {
  public:
    /// `threads`: CPU threads kernels may use; 0 means all the machine offers to this process.
    explicit Context(Device device, int threads = 0, Numerics numerics = {});
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    Device device() const { return device_; }
    int threads() const { return threads_; }
    /// The device's own handle of the order in which calls run: a cudaStream_t on CUDA, nullptr on the CPU.
    void* stream() const { return stream_.get(); }
    /// Whether Backend::capture() of this context runs the function at every launch instead of recording it:
    /// slower, for debugging. Set before capture(); the CPU does it in either case.
    bool eager() const { return eager_; }
    /// Switches that on or off.
    void set_eager(bool eager) { eager_ = eager; }
    Numerics numerics() const { return numerics_; }
    /// Scratch memory of the kernels, reserved while networks are built.
    Workspace& workspace() { return workspace_; }
    const Workspace& workspace() const { return workspace_; }
    /// A cache: asking for a plan does not change what the context computes.
    PlanCache& plans() const { return plans_; }

  private:
    Device device_;
    int threads_;
    // Before what may still use it while it is destroyed.
    std::unique_ptr<void, std::function<void(void*)>> stream_;
    bool eager_ = false;
    Numerics numerics_;
    Workspace workspace_;
    mutable PlanCache plans_;
};

}  // namespace qstep

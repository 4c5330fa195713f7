// What a device offers beneath the kernels: memory, copies, streams' order, captured steps.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/device.h"

namespace qstep {

class Context;

/// One training step, recorded once and launched many times. On CUDA it is a graph, so a launch does not run
/// the function (unless the context is eager); on the CPU every launch runs it. In every case it must not
/// allocate, synchronise or read host scalars that change between launches: what changes lives in device
/// memory.
class CapturedStep {
  public:
    virtual ~CapturedStep() = default;
    /// Runs the step `times` times in stream order.
    virtual void launch(int times) = 0;
};

/// One per device, owned by the registry behind backend(). Every call is safe from any thread.
class Backend {
  public:
    virtual ~Backend() = default;
    /// 64-byte aligned at least. Where there is no memory, throws a run error that says how much was asked
    /// for, on a GPU also how much is free, and ends with `remedy` ("a smaller --batch-size needs less"), if
    /// any.
    virtual void* allocate(std::size_t bytes, std::string_view remedy) = 0;
    /// The same where no option shrinks what is asked for.
    void* allocate(std::size_t bytes) { return allocate(bytes, {}); }
    /// Of allocate(), or nullptr. What still runs on the memory must be waited for before.
    virtual void release(void* address) noexcept = 0;
    /// What Context::stream() holds; nullptr where calls simply run.
    virtual void* make_stream() = 0;
    /// Of make_stream(). Does not wait for what was launched through it.
    virtual void destroy_stream(void* stream) noexcept = 0;
    /// Host to device, in stream order; the host bytes may be reused on return.
    virtual void copy_in(Context& context, void* device_to, const void* host_from, std::size_t bytes) = 0;
    /// Device to host; returns when the bytes have arrived.
    virtual void copy_out(Context& context, void* host_to, const void* device_from, std::size_t bytes) = 0;
    /// In stream order.
    virtual void fill_zero(Context& context, void* device_to, std::size_t bytes) = 0;
    /// Waits for everything launched through this context.
    virtual void synchronize(Context& context) = 0;
    /// Where steps are recorded, runs `step` once first and waits for it: libraries load kernels and choose
    /// algorithms when they are first used, and a recording forbids both. So what it reads must be there, and
    /// what it writes is to be set afterwards. `at_once`: how many steps a launch() often runs; a graph then
    /// holds as many, so that one call to the driver starts them all.
    virtual std::unique_ptr<CapturedStep> capture(Context& context, std::function<void(Context&)> step,
                                                  int at_once = 1) = 0;
    /// Of the cache that all of its cores share; 0 where it cannot be asked.
    virtual std::size_t cache_bytes() const = 0;
    /// One line for people: processor or GPU name and its vector or compute level.
    virtual std::string description() const = 0;
};

/// The backend of a device. Throws a run error where the build or the machine has no such device.
Backend& backend(Device device);
/// How many devices of this kind can be used; 0 for CUDA in a build without it.
int device_count(DeviceKind kind);

}  // namespace qstep

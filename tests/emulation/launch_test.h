// What the emulation's own tests start kernels with.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "engine/backend.h"
#include "engine/context.h"
#include "engine/error.h"
#include "kernels/cuda/device/launch.h"

namespace qstep::test {

/// A context on the first emulated GPU, and memory of it.
class EmulationTest : public testing::Test {
  protected:
    ~EmulationTest() override {
        for (void* address : allocated_) backend_.release(address);
    }
    template <class T>
    T* allocate(std::int64_t count) {
        allocated_.push_back(backend_.allocate(static_cast<std::size_t>(count) * sizeof(T)));
        return static_cast<T*>(allocated_.back());
    }
    template <class T>
    T* upload(const std::vector<T>& values) {
        T* device = allocate<T>(static_cast<std::int64_t>(values.size()));
        backend_.copy_in(context_, device, values.data(), values.size() * sizeof(T));
        return device;
    }
    template <class T>
    std::vector<T> download(const T* device, std::int64_t count) {
        std::vector<T> values(static_cast<std::size_t>(count));
        backend_.copy_out(context_, values.data(), device, values.size() * sizeof(T));
        return values;
    }
    /// What the error says that `function` ends with.
    template <class F>
    std::string message_of(F function) {
        try {
            function();
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    }

    Context context_{{DeviceKind::cuda, 0}, 1};
    Backend& backend_ = qstep::backend({DeviceKind::cuda, 0});

  private:
    std::vector<void*> allocated_;
};

}  // namespace qstep::test

// Splitting one block of workspace into aligned arrays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/arena.h"

namespace qstep::cpu {

/// What an array of this many bytes takes of a Scratch.
constexpr std::size_t scratch_bytes(std::size_t bytes) {
    return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

/// Hands out consecutive arrays, each 64-byte aligned, from a block that the caller has sized with
/// scratch_bytes.
class Scratch {
  public:
    explicit Scratch(void* block) : at_(static_cast<std::byte*>(block)) {}

    void* take_bytes(std::size_t bytes) {
        void* array = at_;
        at_ += scratch_bytes(bytes);
        return array;
    }
    template <typename T>
    T* take(std::int64_t count) {
        return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }

  private:
    std::byte* at_;
};

}  // namespace qstep::cpu

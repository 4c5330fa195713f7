// Pieces of the workspace for the calls of libraries.
#pragma once

#include <cstddef>

#include "engine/context.h"

namespace qstep::cuda {

/// What libraries and vector loads of any width are content with.
constexpr std::size_t kScratchAlignment = 256;

constexpr std::size_t scratch_bytes(std::size_t bytes) {
    return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

/// Hands out the workspace from its beginning, each piece scratch_bytes() long.
class LibraryScratch {
  public:
    LibraryScratch(Context& context, std::size_t bytes)
        : next_(static_cast<std::byte*>(context.workspace().lend(bytes))) {}
    void* take(std::size_t bytes) {
        void* piece = next_;
        next_ += scratch_bytes(bytes);
        return piece;
    }

  private:
    std::byte* next_;
};

}  // namespace qstep::cuda

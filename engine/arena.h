// Arenas own device memory and hand out addresses that never move.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "engine/device.h"
#include "engine/tensor.h"

namespace qstep {

/// A bump allocator in two phases. While measuring it hands out addresses that must not be read or
/// written and only adds up what is asked for; commit() then allocates that much at once and starts over.
/// After commit(), asking for more than was measured throws: nothing ever grows or moves.
class Arena {
  public:
    static constexpr std::size_t kAlignment = 64;

    /// `name` appears in messages ("step arena"), `remedy` in the one of commit() where there is no memory
    /// (Backend::allocate()).
    Arena(Device device, std::string name, std::string remedy = "");
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// Uninitialised tensor, 64-byte aligned. An empty shape still gets an address of its own.
    Tensor allocate(DType dtype, const Shape& shape);
    /// The same without a type; rounded up to 64 bytes, at least 64.
    void* allocate_bytes(std::size_t bytes);

    /// Ends the measuring phase: allocates the largest size that was in use, and starts over from offset 0.
    void commit();
    bool committed() const { return committed_; }

    /// Position for rewind(); plans that never run at the same time share memory by starting at the same
    /// mark.
    std::size_t mark() const { return used_; }
    /// What was handed out behind the mark will be handed out again; its content is lost.
    void rewind(std::size_t mark);

    /// Measured (before commit) or allocated (after) bytes.
    std::size_t capacity() const { return capacity_; }

  private:
    Device device_;
    std::string name_, remedy_;
    std::byte* base_ = nullptr;
    std::size_t used_ = 0;
    std::size_t capacity_ = 0;
    bool committed_ = false;
};

/// Scratch memory of kernels: one block, sized by the largest reserve(), lent out for the length of a scope.
class Workspace {
  public:
    /// Empty until freeze().
    explicit Workspace(Device device) : device_(device) {}
    ~Workspace();
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    /// Called while a network is built: some kernel will need this many bytes at once. Once frozen, throws
    /// for more than there is. The `remedy` of the most bytes, or else the usual one, appears in the message
    /// of freeze() where there is no memory (Backend::allocate()).
    void reserve(std::size_t bytes, std::string_view remedy = {});
    /// What makes the kernels' scratch memory smaller, as the program's user knows it; empty at first.
    void set_usual_remedy(std::string_view remedy) { usual_remedy_ = remedy; }
    const std::string& usual_remedy() const { return usual_remedy_; }
    /// Allocates; from now on lend() works and the size is fixed.
    void freeze();
    /// The whole block, if it holds `bytes`; throws otherwise. One borrower at a time: kernels do not nest.
    void* lend(std::size_t bytes) const;
    std::size_t capacity() const { return capacity_; }

  private:
    Device device_;
    void* base_ = nullptr;
    std::size_t capacity_ = 0;
    std::string remedy_, usual_remedy_;
    bool frozen_ = false;
};

}  // namespace qstep

#include "engine/arena.h"

#include <algorithm>

#include "engine/backend.h"

namespace qstep {

namespace {

std::size_t round_up(std::size_t bytes) {
    return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

// Measuring hands out addresses in a range no allocator uses, so that touching one faults at once.
std::byte* measuring_base() {
    return reinterpret_cast<std::byte*>(Arena::kAlignment);
}

}  // namespace

Arena::Arena(Device device, std::string name, std::string remedy)
    : device_(device), name_(std::move(name)), remedy_(std::move(remedy)) {}

Arena::~Arena() {
    if (base_ != nullptr) backend(device_).release(base_);
}

void* Arena::allocate_bytes(std::size_t bytes) {
    const std::size_t offset = used_;
    used_ += std::max(round_up(bytes), kAlignment);
    if (!committed_) {
        capacity_ = std::max(capacity_, used_);
        return measuring_base() + offset;
    }
    QSTEP_CHECK(used_ <= capacity_, "the {} is frozen at {} bytes and was asked for {} more", name_,
                capacity_, used_ - capacity_);
    return base_ + offset;
}

Tensor Arena::allocate(DType dtype, const Shape& shape) {
    return {allocate_bytes(static_cast<std::size_t>(shape.count()) * size_of(dtype)), dtype, shape};
}

void Arena::commit() {
    QSTEP_CHECK(!committed_, "the {} is committed twice", name_);
    base_ = static_cast<std::byte*>(backend(device_).allocate(std::max(capacity_, kAlignment), remedy_));
    used_ = 0;
    committed_ = true;
}

void Arena::rewind(std::size_t mark) {
    QSTEP_CHECK(mark <= used_, "the {} is rewound to {} but only {} bytes are in use", name_, mark, used_);
    used_ = mark;
}

Workspace::~Workspace() {
    if (base_ != nullptr) backend(device_).release(base_);
}

void Workspace::reserve(std::size_t bytes, std::string_view remedy) {
    QSTEP_CHECK(!frozen_ || bytes <= capacity_,
                "the workspace is frozen at {} bytes and {} were reserved late", capacity_, bytes);
    if (bytes <= capacity_) return;
    capacity_ = bytes;
    remedy_ = remedy;
}

void Workspace::freeze() {
    if (frozen_) return;
    if (capacity_ > 0)
        base_ = backend(device_).allocate(capacity_, remedy_.empty() ? usual_remedy_ : remedy_);
    frozen_ = true;
}

void* Workspace::lend(std::size_t bytes) const {
    QSTEP_CHECK(frozen_ && bytes <= capacity_, "a kernel asks for {} bytes of workspace, {} are there{}",
                bytes, capacity_, frozen_ ? "" : " (not frozen yet)");
    return base_;
}

}  // namespace qstep

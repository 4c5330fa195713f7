// Extents of a tensor, outermost first.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace qstep {

/// Up to four extents. Activations are [N,H,W,C]; convolution weights [O,I,H,W]; linear weights [out,in].
class Shape {
  public:
    static constexpr int kMaxRank = 4;

    Shape() = default;
    /// Throws when there are more than four extents or a negative one.
    Shape(std::initializer_list<std::int64_t> extents);

    int rank() const { return rank_; }
    /// Extent `axis`, 0 <= axis < rank().
    std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
    std::vector<std::int64_t> extents() const { return {extents_.begin(), extents_.begin() + rank_}; }
    /// Product of the extents; 1 for rank 0.
    std::int64_t count() const;
    /// "[128,32,32,16]".
    std::string to_string() const;
    bool operator==(const Shape&) const = default;

  private:
    std::array<std::int64_t, kMaxRank> extents_{};
    int rank_ = 0;
};

}  // namespace qstep

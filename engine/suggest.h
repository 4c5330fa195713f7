// The nearest valid name to what a person typed, for messages about unknown names.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace qstep {

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (the optimal string
/// alignment distance), ASCII letters compared without case.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The valid name with the smallest edit distance to `text`, the first of equals; "" when `valid` is empty.
std::string nearest_name(std::string_view text, std::span<const std::string_view> valid);

}  // namespace qstep

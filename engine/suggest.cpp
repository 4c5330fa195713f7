#include "engine/suggest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace qstep {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
    const std::size_t width = b.size() + 1;
    std::vector<std::size_t> distance((a.size() + 1) * width);
    for (std::size_t i = 0; i <= a.size(); ++i) {
        for (std::size_t j = 0; j <= b.size(); ++j) {
            std::size_t& here = distance[i * width + j];
            if (i == 0 || j == 0) {
                here = i + j;
                continue;
            }
            const bool same = lower(a[i - 1]) == lower(b[j - 1]);
            here = std::min({distance[(i - 1) * width + j] + 1, distance[i * width + j - 1] + 1,
                             distance[(i - 1) * width + j - 1] + (same ? 0 : 1)});
            const bool swapped =
                i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
            if (swapped) here = std::min(here, distance[(i - 2) * width + j - 2] + 1);
        }
    }
    return distance.back();
}

std::string nearest_name(std::string_view text, std::span<const std::string_view> valid) {
    // The beginning of a name is nearer to it than to a short name with few letters in common.
    const auto best = std::ranges::min_element(valid, {}, [&](std::string_view name) {
        return std::pair(text.empty() || !name.starts_with(text), edit_distance(text, name));
    });
    return best == valid.end() ? std::string() : std::string(*best);
}

}  // namespace qstep
